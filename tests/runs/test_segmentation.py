"""Label maps from the recipe to the picture: a run, its tables, predictions, a comparison, two processes."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints import InputError
from tests import processes
from tests.data.mask_folders import write_voc
from transfer.data.dataset import voc_palette
from transfer.data.sources import voc2012
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs import compare, predictor
from transfer.runs import run as runner
from transfer.runs.backbone import prune_backbone
from transfer.runs.finished import load_run
from transfer.training.evaluation import counted

pytestmark = pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return write_voc(tmp_path_factory.mktemp("maps") / "voc", train=8, val=5)


@pytest.fixture(scope="module")
def recipe(home: Path) -> Recipe:
    return Recipe(
        name="maps",
        backbone="embedded",
        output_stride=4,
        data=Data(name=f"voc-folder:{home}", size=32, workers=0),
        prune=Prune(method="px", sparsity=0.8, rounds=2, images=4, batch=2),
        train=Train(epochs=2, batch=4, lr=0.05, lr_trunk=0.01, schedule="poly", precision="no"),
    )


@pytest.fixture(scope="module")
def result(recipe: Recipe, tmp_path_factory) -> runner.Result:
    return runner.run(recipe, out=tmp_path_factory.mktemp("runs"))


def test_the_result_says_what_moves_miou(result):
    m = result.metrics
    named = {"task": "segmentation", "headline": "miou", "train_split": "train", "split": "val", "protocol": "whole"}
    assert named.items() <= m.items()
    assert m["output_stride"] == 4
    assert 0 < m["miou"] <= m["best_miou"] < 1
    assert {"pixel_accuracy", "class_accuracy", "test_loss", "absent_classes"} <= m.keys()
    assert m["kept"] == m["total"] - int(0.8 * m["total"] + 0.5)
    assert m["pruning_set"]["images"] == 4


def test_the_table_of_classes_gives_the_miou(result):
    with open(result.folder / "classes.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [f"class {i}" for i in range(4)]
    ious = [float(row["iou"]) for row in rows if row["iou"]]
    assert result.metrics["miou"] == pytest.approx(np.mean(ious), abs=1e-12)
    assert result.metrics["absent_classes"] == [row["class"] for row in rows if not row["iou"]]


def test_every_part_is_pruned_and_the_head_lives(result):
    with open(result.folder / "layers.csv") as file:
        rows = {row["layer"]: row for row in csv.DictReader(file)}
    for part in ("encoder.", "decoder.", "segmentation_head."):
        own = [row for name, row in rows.items() if name.startswith(part)]
        assert 0 < sum(int(row["kept"]) for row in own) < sum(int(row["total"]) for row in own)


def test_evaluate_finds_the_same_again(result, command):
    code, out, _ = command("evaluate", str(result.folder))
    assert code == 0
    found = json.loads(out)
    assert found["miou"] == result.metrics["miou"]
    assert found["protocol"] == "whole"
    assert [row["class"] for row in found["classes"]] == [f"class {i}" for i in range(4)]


def test_predict_needs_neither_data_nor_backbone(result, home, tmp_path, command):
    run = shutil.copytree(result.folder, tmp_path / "run")
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["data"]["name"] = "voc-folder:/nowhere"
    (run / "recipe.json").write_text(json.dumps(recipe))
    images = sorted((home / "JPEGImages").glob("*.jpg"))[:2]
    code, out, _ = command("predict", str(run), *map(str, images), "--out", str(tmp_path / "maps"))
    assert code == 0
    lines = out.splitlines()
    model = predictor.load(run)
    for line, image in zip(lines, images, strict=True):
        source, plain, mixed = line.split("\t")
        assert source == str(image)
        picture = Image.open(image)
        with Image.open(plain) as made, Image.open(mixed) as laid:
            assert made.mode == "P"
            assert made.size == laid.size == picture.size
            labels = np.array(made)
            assert np.array_equal(labels, model(picture.convert("RGB")).numpy())
            assert set(np.unique(labels)) <= {0, 1, 2, 3}
            assert tuple(made.getpalette()[:6]) == voc_palette()[0] + voc_palette()[1]


def test_predictions_are_those_that_evaluation_counts(result, home):
    """The confusion matrix of the predicted files is that of the run's table, to the pixel."""
    model, matrix = predictor.load(result.folder), np.zeros((4, 4), dtype=np.int64)
    for name in (home / "ImageSets/Segmentation/val.txt").read_text().split():
        truth = np.array(Image.open(home / f"SegmentationClass/{name}.png"))
        found = model(Image.open(home / f"JPEGImages/{name}.jpg").convert("RGB")).numpy()
        np.add.at(matrix, (truth[truth != 255], found[truth != 255]), 1)
    with open(result.folder / "classes.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["truth"]) for row in rows] == matrix.sum(1).tolist()
    assert [int(row["predicted"]) for row in rows] == matrix.sum(0).tolist()


@pytest.mark.slow
def test_a_comparison_ends_with_a_picture(recipe, tmp_path, drawing):
    short = replace(recipe, train=replace(recipe.train, epochs=1))
    with drawing():
        found = compare.compare(short, methods=["random"], sparsities=[0.5], seeds=[0], out=tmp_path)
    assert found.task.headline.name == "miou"
    assert found.columns[3] == "miou"
    with Image.open(found.folder / "predictions.png") as picture:
        assert picture.width > 500
    assert (found.folder / "comparison.png").exists()


def test_the_centre_protocol_is_named(recipe, tmp_path):
    data = replace(recipe.data, protocol="center")
    found = runner.run(replace(recipe, data=data, train=replace(recipe.train, epochs=0)), out=tmp_path)
    assert found.metrics["protocol"] == "center"


def counts(folder: Path, out: Path) -> None:
    job, model = load_run(folder)
    loss, found = counted(model, job.loaders.test, task=job.task, accelerator=job.accelerator)
    rank = job.accelerator.process_index
    images, labels = next(iter(job.loaders.test))
    alone = [(images, labels)] if rank == 1 else [(images[:0], labels[:0])]
    seen = counted(model, alone, task=job.task, accelerator=job.accelerator)[1].sum()
    assert seen > 0
    assert rank == 0 or seen == (labels != 255).sum()
    (out / f"{rank}.json").write_text(json.dumps([job.accelerator.num_processes, loss, found.tolist()]))


def test_two_processes_with_an_uneven_last_batch_count_every_pixel_once(result, tmp_path):
    processes.run(counts, result.folder, tmp_path, world=2, folder=tmp_path / "said")
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [two[0] for two in found] == [2, 2]
    job, model = load_run(result.folder)
    loss, counts_of_one = runner.counted(model, job.loaders.test, task=job.task)
    assert len(job.dataset.test) == 5
    for _, other, matrix in found:
        assert torch.equal(torch.tensor(matrix), counts_of_one)
        assert other == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": {"size": 30}}, "crop 30 is no multiple of the output stride 4; use 28 or 32"),
        ({"train": {"batch": 1}}, "training batch has 1 image"),
        ({"output_stride": 16}, "stride"),
        ({"data": {"protocol": "corner"}}, "protocol"),
        ({"prune": {"images": 0}}, "prune.images is 0"),
        ({"train": {"schedule": "polly"}}, "train.schedule"),
        ({"backbone": "random:convnext_atto"}, "output_stride is 4; convnext_atto allows 8 or 16"),
    ],
)
def test_what_is_refused_before_anything_is_written(recipe, changes, says, tmp_path):
    content = recipe.to_dict()
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    with pytest.raises(InputError, match=says) as caught:
        runner.run(Recipe.from_dict(content), out=tmp_path / "runs")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_backbone_is_not_pruned_with_maps(recipe, tmp_path):
    with pytest.raises(InputError, match="whose task is segmentation"):
        prune_backbone("embedded", recipe.data, recipe.prune, out=tmp_path / "trunk.safetensors")


def test_what_predict_refuses(result, home, tmp_path, command):
    image = str(next((home / "JPEGImages").glob("*.jpg")))
    other = tmp_path / "other" / Path(image).name
    other.parent.mkdir()
    shutil.copy(image, other)
    (tmp_path / "text.png").write_text("no image")
    for words, says, expected in (
        ([str(tmp_path), image], "is .* the folder of a run", 2),
        ([str(result.folder), str(tmp_path / "none.png")], "there is no image", 2),
        ([str(result.folder), image, str(other)], "two images would write", 2),
        ([str(result.folder), str(tmp_path / "text.png")], "not a readable image", 1),
    ):
        code, _, err = command("predict", *words, "--out", str(tmp_path / "maps"))
        assert code == expected
        assert re.search(says, err)
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("image_size", 8.5), ("image_size", 1_000_000), ("image_size", True), ("task", ["a"]), ("classes", 7)],
)
def test_a_damaged_description_of_the_model_is_one_line(result, home, tmp_path, command, key, value):
    run = shutil.copytree(result.folder, tmp_path / "run")
    about = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**about, key: value}))
    code, _, err = command("predict", str(run), str(next((home / "JPEGImages").glob("*.jpg"))))
    assert code == 2
    assert re.fullmatch(r"error: .*model\.json is damaged \(.*\); run the recipe again\n", err)


def test_a_damaged_image_does_not_end_the_batch(result, home, tmp_path, command):
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    good = sorted((home / "JPEGImages").glob("*.jpg"))[:2]
    for photo, place in zip(good, (photos, photos / "more"), strict=True):
        (place / photo.name).write_bytes(photo.read_bytes())
    (photos / "broken.png").write_bytes(b"no image")
    code, out, err = command("predict", str(result.folder), str(photos), "--out", str(tmp_path / "maps"))
    assert code == 1, err
    assert [line.split("\t")[0] for line in out.splitlines()] == [
        str(photos / good[0].name),
        str(photos / "more" / good[1].name),
    ]
    assert err.count("\n") == 1
    assert err.startswith(f"error: 1 of 3 images could not be read: {photos / 'broken.png'}: not a readable image")


def test_predict_wants_a_folder_for_its_maps(result, home, tmp_path, command):
    (tmp_path / "file").write_text("mine")
    image = str(next((home / "JPEGImages").glob("*.jpg")))
    code, _, err = command("predict", str(result.folder), image, "--out", str(tmp_path / "file"))
    assert (code, err) == (2, f"error: {tmp_path / 'file'} is no folder; choose another --out\n")
    code, _, err = command("predict", str(result.folder))
    assert code == 2
    assert "give one or more" in err


@pytest.mark.parametrize("count", [1, 3])
def test_a_split_too_small_for_a_training_batch_is_refused_before_pruning(recipe, tmp_path, count):
    home = write_voc(tmp_path / "few", train=count, val=2)
    few = replace(recipe, data=replace(recipe.data, name=f"voc-folder:{home}"))
    if count == 3:
        assert len(runner.prepare(few).dataset.train) == 3
        return
    with pytest.raises(InputError, match="a training batch has 1 image"):
        runner.run(few, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_predict_never_writes_over_its_images(result, home, tmp_path, command):
    photo = tmp_path / "photo.png"
    Image.open(next((home / "JPEGImages").glob("*.jpg"))).save(photo)
    before = photo.read_bytes()
    code, _, err = command("predict", str(result.folder), str(photo), "--out", str(tmp_path))
    assert code == 2
    assert "would overwrite the image" in err
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--data.size", "100"], "crop 100 is no multiple of the output stride 16"),
        (["--train.batch", "1"], "a training batch has 1 image"),
        (["--prune.method", "pxx"], "unknown method"),
        (["--output-stride", "7"], "output_stride is 7"),
    ],
)
def test_a_mistake_in_voc2012_is_one_line_before_its_data_is_looked_for(flags, says, tmp_path, monkeypatch, ended):
    from recipes.voc2012 import RECIPE
    from transfer import recipe_cli

    monkeypatch.setenv("TRANSFER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(voc2012, "TAR", replace(voc2012.TAR, url="http://127.0.0.1:9/none.tar"))
    words = ["--dry-run", "--backbone", "random:resnet18", "--prune.method", "magnitude", "--data.size", "64", *flags]
    code, _, err = ended(lambda: recipe_cli.run_recipe(RECIPE, words))
    assert code == 2
    assert re.search(says, err)
