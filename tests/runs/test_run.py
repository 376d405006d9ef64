"""transfer.run from the backbone to the finished folder: what is in it, and that equal runs are equal."""

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import checkpoints
import transfer
from checkpoints import Card, InputError
from tests import processes
from tests.runs.conftest import Drawing
from transfer.errors import TrainingError
from transfer.pruning import Masks
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs.finished import load_run
from transfer.runs.predictor import predict
from transfer.runs.run import Result
from transfer.training import evaluate
from transfer.training.checkpoint import State

RECIPE = Recipe(
    name="tiny",
    backbone="embedded",
    data=Data(name="digits", size=16),
    prune=Prune(method="px", sparsity=0.9, rounds=2, per_class=2),
    train=Train(epochs=1, batch=128, lr=0.05, precision="no"),
    seed=3,
)
LONG = replace(RECIPE, train=replace(RECIPE.train, epochs=2, schedule="cosine"))
SAME = ("recipe.json", "masks.safetensors", "model.safetensors", "best.safetensors", "metrics.jsonl", "result.json")
ALWAYS = {*SAME, "environment.json", "log.txt", "origin.json", "model.json", "timing.json", "layers.csv"}


def dies_after_a_save(out: Path) -> None:
    save = State.save

    def die_afterwards(self: State, content: dict[str, Any]) -> None:
        save(self, content)
        os.kill(os.getpid(), signal.SIGKILL)

    State.save = die_afterwards  # type: ignore[method-assign]
    transfer.run(LONG, out=out)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, drawing: Drawing) -> Result:
    with drawing():
        return transfer.run(RECIPE, out=tmp_path_factory.mktemp("runs"))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_everything_is_there_and_whole(result: Result) -> None:
    files = {p.relative_to(result.folder).as_posix() for p in result.folder.rglob("*") if p.is_file()}
    assert files - {".lock"} == ALWAYS | {"plots/accuracy.png", "plots/density.png"}
    assert Recipe.from_dict(read(result.folder / "recipe.json")) == RECIPE.resolved()
    assert read(result.folder / "result.json") == result.metrics
    assert Card(**result.metrics["card"]) == checkpoints.load(RECIPE.backbone).card
    assert {"torch", "timm", "px-transfer"} <= set(read(result.folder / "environment.json")["versions"])
    assert len(read(result.folder / "timing.json")["epochs_s"]) == 1
    for plot in ("accuracy", "density"):
        with Image.open(result.folder / f"plots/{plot}.png") as image:
            image.verify()
            assert image.format == "PNG"


def test_the_result_says_what_was_run(result: Result) -> None:
    found = result.metrics
    named = {"backbone": "embedded", "dataset": "digits", "split": "test", "image_size": 16, "method": "px", "seed": 3}
    assert named.items() <= found.items()
    assert (found["sparsity_asked"], found["rounds"], found["total"]) == (0.9, 2, 270_896)
    assert found["kept"] == 270_896 - int(0.9 * 270_896 + 0.5)
    assert found["sparsity"] == 1 - found["kept"] / found["total"]
    assert found["pruning_set"]["images"] == 20
    assert {"versions", "device", "backbone_digest", "masks_digest", "weights_digest"} <= set(found)


def test_masks_layers_and_weights_agree(result: Result) -> None:
    masks = Masks.load(result.folder / "masks.safetensors")
    for file in ("model.safetensors", "best.safetensors"):
        weights = load_file(result.folder / file)
        assert sum(int((weights[name] != 0).sum()) for name in masks) == masks.kept == result.metrics["kept"]
        assert all((weights[name][~mask] == 0).all() for name, mask in masks.items())
    with open(result.folder / "layers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["kept"]) for row in rows) == masks.kept
    assert [row["layer"] + ".weight" for row in rows] == list(masks)


def test_the_saved_model_has_the_accuracy_of_the_result(result: Result) -> None:
    job, model = load_run(result.folder)
    found = evaluate(model, job.loaders.test)
    assert found == {"accuracy": result.metrics["accuracy"], "loss": result.metrics["test_loss"]}
    (row,) = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert (row["accuracy"], row["test_loss"]) == (found["accuracy"], found["loss"])


def test_predict_names_the_classes_that_evaluation_counts(result: Result, tmp_path: Path) -> None:
    job, model = load_run(result.folder)
    images = job.dataset.test.subset(torch.arange(40))
    (inputs, _), expected = next(iter(job.loaders.test)), []
    with torch.no_grad():
        expected = model.eval()(inputs[:40]).argmax(1).tolist()
    paths = [tmp_path / f"{i:02d}.png" for i in range(40)]
    for path, pixels in zip(paths, images.pixels, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    found = list(predict(result.folder, paths, out=tmp_path / "maps"))
    classes = [line.split("\t")[1] for line in found]
    same = sum(name == job.dataset.classes[k] for name, k in zip(classes, expected, strict=True))
    assert same >= 39, "resampling of Pillow and torch differs by rounding"
    assert not (tmp_path / "maps").exists()


def test_the_same_recipe_again_returns_at_once(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p: p.stat().st_mtime_ns for p in result.folder.rglob("*") if p.is_file() and p.name != ".lock"}
    monkeypatch.setattr("transfer.runs.run.finetune", None)
    again = transfer.run(RECIPE, out=result.folder.parent)
    assert again == result
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_another_folder_gets_the_same_bytes(result: Result, tmp_path: Path) -> None:
    torch.rand(3)
    again = transfer.run(RECIPE, out=tmp_path / "deep" / "er")
    assert again.folder.name == result.folder.name
    for name in SAME:
        assert (again.folder / name).read_bytes() == (result.folder / name).read_bytes(), name


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    killed = processes.start(dies_after_a_save, tmp_path / "killed", folder=tmp_path / "said")
    assert killed.codes() == [-signal.SIGKILL]
    (folder,) = (tmp_path / "killed").iterdir()
    assert not (folder / "result.json").exists()
    resumed, undisturbed = (transfer.run(LONG, out=tmp_path / name) for name in ("killed", "whole"))
    assert resumed.folder == folder
    for name in SAME:
        assert (folder / name).read_bytes() == (undisturbed.folder / name).read_bytes(), name
    assert not (folder / "state.pt").exists()
    assert not list(folder.rglob("*.tmp"))


def test_no_epoch_is_the_pruned_model_as_it_is(tmp_path: Path) -> None:
    recipe = replace(RECIPE, train=replace(RECIPE.train, epochs=0), prune=Prune(method="magnitude", sparsity=0.5))
    found = transfer.run(recipe, out=tmp_path)
    assert found.metrics["best_epoch"] == 0
    assert found.metrics["accuracy"] == found.metrics["best_accuracy"]
    assert {p.name for p in found.folder.iterdir()} - {".lock"} == ALWAYS | {"plots"}
    assert transfer.run(recipe, out=tmp_path) == found


def test_a_dense_run_has_no_masks(tmp_path: Path) -> None:
    recipe = replace(RECIPE, prune=Prune(sparsity=0.0), train=replace(RECIPE.train, epochs=0))
    found = transfer.run(recipe, out=tmp_path)
    assert found.folder.name.startswith("tiny-embedded-dense-s3-")
    assert not (found.folder / "masks.safetensors").exists()
    assert (found.metrics["sparsity"], found.metrics["kept"]) == (0.0, 270_896)


def test_too_high_a_learning_rate_ends_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="try a lower"):
        transfer.run(replace(RECIPE, train=replace(RECIPE.train, lr=1e9)), out=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert (folder / "masks.safetensors").exists()
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize(
    "bad",
    [
        replace(RECIPE, prune=replace(RECIPE.prune, per_class=5000)),
        replace(RECIPE, prune=replace(RECIPE.prune, sparsity=0.9999999)),
        replace(RECIPE, backbone="random:vit_tiny_patch16_224"),
        replace(RECIPE, backbone="random:vit_tiny_patch16_224", data=Data(size=224)),
        replace(RECIPE, backbone="random:convnext_atto", stem="cifar"),
        replace(RECIPE, data=replace(RECIPE.data, size=4), train=replace(RECIPE.train, batch=1)),
        replace(RECIPE, train=replace(RECIPE.train, momentum=0.0, nesterov=True)),
        replace(RECIPE, seed=2**70),
    ],
    ids=["per-class", "no weight left", "size", "no paths", "stem", "one value per channel", "nesterov", "seed"],
)
def test_what_cannot_work_is_refused_before_anything_is_written(bad: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        transfer.run(bad, out=tmp_path / "runs")
    assert not list(tmp_path.iterdir())
