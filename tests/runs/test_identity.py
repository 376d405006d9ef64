"""A run belongs to the data, weights and methods it was made from: others are another run, or are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import transfer
from checkpoints import InputError
from transfer import data
from transfer.data.dataset import Images
from transfer.data.identity import difference, fingerprint
from transfer.data.image_batches import Batches, Loaders
from transfer.data.sources.voc_sample import cached
from transfer.models import classifier
from transfer.pruning import prune, saliency
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs.finished import load_run
from transfer.runs.folder import RunFolder
from transfer.runs.prepare import prepare
from transfer.training import finetune

SMALL = Recipe(
    name="small",
    backbone="random:resnet20",
    data=Data(size=8, workers=0),
    prune=Prune(method="magnitude", sparsity=0.5, rounds=1, per_class=2),
    train=Train(epochs=1, batch=4, lr=0.01, precision="no"),
)
Outcome = tuple[int, str, str]


def photos(root: Path, classes: dict[str, int], *, train: int = 4, test: int = 2) -> Path:
    """Write class folders; the number of a class decides its pixels."""
    for split, count in (("train", train), ("val", test)):
        for name, seed in classes.items():
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = np.random.default_rng([seed, i]).integers(0, 256, (8, 8 + seed, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


def on(folder: Path | str) -> Recipe:
    return replace(SMALL, data=replace(SMALL.data, name=f"imagefolder:{folder}"))


def test_the_same_command_beside_other_classes_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for project, second in (("one", "dog"), ("two", "eel"), ("three", "dog")):
        photos(tmp_path / project / "data", {"cat": 0, second: 1})
        monkeypatch.chdir(tmp_path / project)
        found.append(transfer.run(on("data"), out=tmp_path / "runs"))
    assert found[0].folder != found[1].folder
    assert found[1].finished is None
    assert found[2].folder == found[0].folder  # the same data somewhere else are the same run
    assert found[2].finished is not None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: (root / "train/dog").rename(root / "train/ape"), "class 0 was 'cat', now 'ape'"),
        (lambda root: photos(root, {"eel": 2}), "there were 2 classes, now 3 (new: eel)"),
        (lambda root: photos(root, {"cat": 0, "dog": 1}, train=5), "train had 8 images, now 10"),
        (lambda root: (root / "val/dog/0.png").rename(root / "val/dog/9.png"), "val has as many images as before, but"),
        (
            lambda root: Image.new("RGB", (3, 3)).save(root / "train/cat/0.png"),
            "train has as many images as before, but",
        ),
    ],
)
def test_a_change_of_the_files_is_another_fingerprint(
    tmp_path: Path, change: Callable[[Path], object], told: str
) -> None:
    root = photos(tmp_path, {"cat": 0, "dog": 1})
    before = fingerprint(data.load(f"imagefolder:{root}"))
    assert difference(before, fingerprint(data.load(f"imagefolder:{root}"))) == ""
    change(root)
    if (root / "train/ape").exists():
        (root / "val/dog").rename(root / "val/ape")
    assert told in difference(before, fingerprint(data.load(f"imagefolder:{root}")))


@pytest.mark.parametrize("name", ["digits", "voc-sample"])
def test_every_kind_of_data_has_a_fingerprint(name: str) -> None:
    first, second = fingerprint(data.load(name)), fingerprint(data.load(name))
    assert first == second
    assert json.loads(json.dumps(first)) == first


def test_a_label_of_images_in_memory_counts() -> None:
    pixels, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])
    digests = {Images(pixels, x).digest for x in (labels, labels.flip(0))} | {Images(pixels + 1, labels).digest}
    assert len(digests) == 3


def test_masks_count_by_their_content(tmp_path: Path) -> None:
    root = Path(shutil.copytree(cached(), tmp_path / "voc"))
    before = fingerprint(data.load(f"voc-folder:{root}"))
    mask = sorted((root / "SegmentationClass").iterdir())[0]
    with Image.open(mask) as image:
        labels, palette = np.array(image), image.getpalette()
    labels[labels == 0] = 1
    other = Image.fromarray(labels, "P")
    other.putpalette(palette)
    other.save(mask)
    assert "but not the same ones" in difference(before, fingerprint(data.load(f"voc-folder:{root}")))


def test_a_state_of_other_images_is_refused(tmp_path: Path) -> None:
    """Two projects could share a folder of states: what resume compares holds the images themselves."""
    backbone = prepare(SMALL).backbone
    images = Images(
        torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 3, 8, 8).contiguous(), torch.arange(8) % 2
    )

    def train(split: Images, epochs: int, until: int | None) -> None:
        batches = Batches(split, size=8, batch=4, mean=backbone.mean, std=backbone.std, shuffle=True, seed=0)
        finetune(
            classifier(backbone, 2), None, Loaders(batches, batches), replace(SMALL.train, epochs=epochs),
            folder=tmp_path, until=until,
        )  # fmt: skip

    train(images, 2, 1)
    with pytest.raises(
        InputError, match=r"holds another fine-tuning \(training images [0-9a-f]{12}, now [0-9a-f]{12}\)"
    ):
        train(Images(images.pixels, 1 - images.labels), 2, None)
    train(images, 2, None)


@pytest.mark.parametrize("stop", ["pruning", "training"])
def test_a_stopped_run_does_not_go_on_with_swapped_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    root, out = photos(tmp_path / "data", {"cat": 0, "dog": 1}), tmp_path / "runs"
    recipe = replace(on(root), prune=Prune(method="synflow", sparsity=0.5, rounds=2, per_class=2))
    with monkeypatch.context() as patch:
        if stop == "training":
            patch.setattr("transfer.runs.run.layer_rows", _stop)
        else:
            patch.setattr("transfer.runs.prune_model.prune", _after_a_round(prune))
        with pytest.raises(KeyboardInterrupt):
            transfer.run(recipe, out=out)
    (begun,) = out.iterdir()
    for split in ("train", "val"):  # the labels change places
        (root / split / "cat").rename(root / split / "pup")
    found = transfer.run(recipe, out=out)
    assert found.folder != begun
    assert json.loads((found.folder / "model.json").read_text())["classes"] == ["dog", "pup"]
    job = prepare(recipe)
    folder = RunFolder(out, job.recipe, job.origin)
    shutil.rmtree(folder.path)
    begun.rename(folder.path)
    with (
        pytest.raises(InputError, match=r"a run of other data or weights \(class 0 was 'cat', now 'dog'"),
        folder.opened(),
    ):
        pass


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _after_a_round(real: Callable[..., object]) -> Callable[..., object]:
    def stopped(*given: object, after_round: Callable[..., None], **settings: object) -> object:
        def then(*found: object) -> None:
            after_round(*found)
            raise KeyboardInterrupt

        return real(*given, after_round=then, **settings)

    return stopped


def test_evaluate_refuses_other_classes_and_tells_of_other_images(
    tmp_path: Path, command: Callable[..., Outcome]
) -> None:
    root = photos(tmp_path / "data", {"cat": 0, "dog": 1})
    run = transfer.run(on(root), out=tmp_path / "runs").folder
    assert command("evaluate", str(run))[0] == 0
    photos(root, {"cat": 0, "dog": 1}, test=3)
    with pytest.warns(UserWarning, match="not those that the run was tested on: val had 4 images, now 6"):
        load_run(run)
    for split in ("train", "val"):
        (root / split / "cat").rename(root / split / "pup")
    code, _, told = command("evaluate", str(run))
    assert code == 2
    assert "has other classes than the run in" in told
    assert "class 0 was 'cat', now 'dog', and 1 more" in told
    photos(root, {"eel": 2})
    code, _, told = command("evaluate", str(run))
    assert code == 2
    assert "there were 2 classes, now 3 (new: eel, pup)" in told


METHOD = """
from transfer.pruning import register
POWER = {power}
def score(problem):
    return {{name: w.abs() ** POWER for name, w in problem.weights.items()}}
register("{name}", score, statistics=None{version})
"""


def test_a_registered_method_that_changed_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(saliency._METHODS)
    monkeypatch.setattr(saliency, "_METHODS", known)
    found = []
    for text in (
        METHOD.format(power=1, name="mine", version=""),
        METHOD.format(power=1, name="mine", version=""),
        METHOD.format(power=-1, name="mine", version=""),
        METHOD.format(power=-1, name="mine", version=", version='2'"),
    ):
        known.pop("mine", None)
        script = tmp_path / "mine.py"
        script.write_text(text)
        exec(compile(text, str(script), "exec"), {})
        mine = replace(SMALL, prune=Prune(method="mine", sparsity=0.5), train=replace(SMALL.train, epochs=0))
        found.append(transfer.run(mine, out=tmp_path / "runs"))
    assert found[1].folder == found[0].folder
    assert len({result.folder for result in found}) == 3
    assert len({result.metrics["masks_digest"] for result in found}) == 2


def test_the_source_of_a_method_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saliency, "_METHODS", dict(saliency._METHODS))
    space: dict[str, Callable[..., object]] = {}
    exec("def score(problem): return {}\ndef other(problem): return {'a': 1}", space)
    saliency.register("typed", space["score"])
    saliency.register("typed-too", space["other"])
    saliency.register("built", str.upper)
    sources = {saliency.source(name) for name in ("typed", "typed-too")}
    assert len(sources) == 2
    assert None not in sources
    assert saliency.source("px") is None
    with pytest.raises(
        InputError, match=r"the source of method 'built' cannot be found; give register\(…, version=…\)"
    ):
        saliency.source("built")


def test_a_finished_run_that_is_printed_says_so(tmp_path: Path, command: Callable[..., Outcome]) -> None:
    words = (
        "run", "digits", "--data.size", "8", "--backbone", "random:resnet20", "--prune.method", "magnitude",
        "--train.epochs", "0", "--out", str(tmp_path),
    )  # fmt: skip
    assert "finished on" not in command(*words)[1]
    (folder,) = tmp_path.iterdir()
    for more in ((), ("--dry-run",)):
        told = "".join(command(*words, *more)[1].splitlines(keepends=True)[-1:])
        assert f"; remove {folder} to run it again" in told
        assert "finished on 20" in told
    (folder / "model.safetensors").unlink()  # what is left is not a finished run
    assert "begun: it would go on" in command(*words, "--dry-run")[1]
    assert "finished on" not in command(*words)[1]
    assert (folder / "model.safetensors").exists()
