"""Predict new images with a finished run, without its data set or the file of its backbone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

import checkpoints
from checkpoints.errors import InputError
from checkpoints.files import check_folder, read_json, write_whole
from transfer import tasks
from transfer.data.image_io import decode
from transfer.data.preprocess import Preprocess
from transfer.data.sources.imagefolder import images_in
from transfer.errors import RunError
from transfer.log import track
from transfer.recipe import Data, Recipe
from transfer.runs.prepare import Setup
from transfer.tasks import Task
from transfer.training.checkpoint import load_weights

NAME = "model.json"
WEIGHTS = {"last": "model.safetensors", "best": "best.safetensors"}
LARGEST = 8192  # pixels per side; a damaged number could exhaust the memory


def describe(setup: Setup) -> dict[str, Any]:
    """Return what :func:`load` needs besides the weights, as JSON types."""
    recipe, backbone = setup.recipe, setup.backbone
    return {
        "task": setup.task.name,
        "arch": backbone.arch,
        "stem": recipe.stem,
        "output_stride": recipe.output_stride,
        "image_size": recipe.data.size,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "interpolation": backbone.interpolation,
        **setup.task.about(),
    }


@dataclass(frozen=True)
class Predictor:
    """A sparse fine-tuned model with its task and preprocessing."""

    model: nn.Module
    task: Task
    look: Preprocess

    @torch.no_grad()
    def __call__(self, image: Image.Image) -> Tensor:
        """Return the task's prediction for an RGB image of any size."""
        return self.task.predict(self.model, image, self.look)


def load(folder: Path, *, which: str = "last") -> Predictor:
    """Load the model of a finished run with its "last" or "best" weights.

    Raises:
        InputError: the run is not finished, or its files are damaged.
    """
    about = read_json(folder / NAME)
    try:
        task = tasks.find(about["task"]).read(about)
        recipe = Recipe(
            name="predict", stem=about["stem"], output_stride=int(about["output_stride"]),
            data=Data(size=_pixels(about["image_size"])),
        )  # fmt: skip
        model = task.model(checkpoints.load(f"random:{about['arch']}"), recipe)
        look = Preprocess(recipe.data.size, about["mean"], about["std"], about["interpolation"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / NAME} is damaged ({error}); run the recipe again") from error
    load_weights(model, folder / WEIGHTS[which])
    return Predictor(model.eval(), task, look)


def _pixels(size: Any) -> int:
    if type(size) is not int or not 1 <= size <= LARGEST:
        raise ValueError(f"image_size {size!r}; 1 to {LARGEST}")
    return size


def predict(
    run: Path, images: Sequence[Path], *, out: Path, which: str = "last", progress: bool = False
) -> Iterator[str]:
    """Yield one line per image: its path, then the prediction as text or the files that were written for it.

    Segmentation writes ``out/NAME.png``, a palette PNG whose values are the classes, and ``out/NAME-overlay.png``.

    Args:
        run: folder of a finished run; neither its data set nor its backbone is needed.
        images: image files of any size, and folders of images.
        out: folder for the written files.
        which: "last" or "best" weights.
        progress: show a progress bar.

    Raises:
        InputError: before anything is written: a run or an image is missing, ``out`` is not a folder, or an output file
            is shared by two images or would overwrite one.
        RunError: after the last image: some images could not be read; names them.
    """
    if not images:
        raise InputError("no image was given; give one or more: transfer predict RUN IMAGE...")
    for path in images:
        if not path.exists():
            raise InputError(f"there is no image {path}")
    images = [image for path in images for image in (images_in(path) if path.is_dir() else [path])]
    predictor = load(run, which=which)
    if predictor.task.suffixes:
        _check_targets(images, out, predictor.task.suffixes)
    failed = []
    for path in track(images, "predict", shown=progress and len(images) > 1):
        try:
            line = _line(predictor, path, out)
        except InputError as error:
            failed.append(str(error))
        else:
            yield line
    if failed:
        raise RunError(f"{len(failed)} of {len(images)} images could not be read: {'; '.join(failed)}")


def _check_targets(images: Sequence[Path], out: Path, suffixes: Sequence[str]) -> None:
    check_folder(out)
    targets = [target for path in images for target in _targets(path, out, suffixes)]
    twice = sorted({target.name for target in targets if targets.count(target) > 1})
    if twice:
        raise InputError(f"two images would write {out / twice[0]}; predict them apart, or rename one")
    own = {path.resolve() for path in images}
    over = [target for target in targets if target.resolve() in own]
    if over:
        raise InputError(f"the prediction would overwrite the image {over[0]}; choose another --out")


def _targets(path: Path, out: Path, suffixes: Sequence[str]) -> list[Path]:
    return [out / f"{path.stem}{suffix}" for suffix in suffixes]


def _line(predictor: Predictor, path: Path, out: Path) -> str:
    image = decode(path, path)
    shown = predictor.task.show(image, predictor(image))
    targets = _targets(path, out, predictor.task.suffixes)
    for target, content in zip(targets, shown.files, strict=True):
        write_whole(target, content)
    return "\t".join([str(path), *filter(None, [shown.text]), *map(str, targets)])
