"""The model of a finished run, without its data set and its backbone's file: for predictions on new images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

import checkpoints
from checkpoints.errors import InputError
from checkpoints.files import write_whole
from transfer.data.dataset import Images, Palette
from transfer.data.image_io import decode
from transfer.data.preprocess import Preprocess
from transfer.data.sources.imagefolder import images_in
from transfer.errors import RunError
from transfer.models import classifier, segmenter
from transfer.report import masks as maps
from transfer.report.progress import track
from transfer.runs.folder import read_json
from transfer.runs.prepare import Job, SegmentationJob
from transfer.training.checkpoint import load_weights

NAME = "model.json"
TASKS = ("classification", "segmentation")
LARGEST = 8192  # pixels of a side: a damaged number could ask for all memory


def describe(job: Job) -> dict[str, Any]:
    """Return what :func:`load` needs beside the weights, as JSON types."""
    recipe, backbone = job.recipe, job.backbone
    maps = isinstance(job, SegmentationJob)
    return {
        "task": job.task.name,
        "arch": backbone.arch,
        "stem": recipe.stem,
        "output_stride": recipe.output_stride,
        "image_size": recipe.data.size,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "interpolation": backbone.interpolation,
        "centre_crop": not isinstance(job.dataset.test, Images),
        "classes": list(job.dataset.classes),
        "palette": [list(colour) for colour in job.dataset.palette] if maps else None,
    }


@dataclass(frozen=True)
class Trained:
    """A sparse, fine-tuned model and how images are prepared for it."""

    model: nn.Module
    task: str
    classes: tuple[str, ...]
    palette: Palette
    look: Preprocess
    stride: int
    centre_crop: bool

    def picture(self, path: Path) -> Image.Image:
        """Read an image as RGB.

        Raises:
            InputError: the file is no image.
        """
        return decode(path, path)

    @torch.no_grad()
    def labels(self, image: Image.Image) -> Tensor:
        """Return the class of each pixel, uint8 (H, W), at the image's own size."""
        pixels = transforms.pil_to_tensor(image)
        height, width = pixels.shape[1:]
        inputs = self.look.normalise(pixels[None])
        padded = inputs.new_zeros(1, 3, -height % self.stride + height, -width % self.stride + width)
        padded[:, :, :height, :width] = inputs
        return self.model(padded)[0, :, :height, :width].argmax(0).to(torch.uint8)

    @torch.no_grad()
    def probabilities(self, image: Image.Image) -> Tensor:
        """Return the probability of each class, (K,), of an image prepared as the test images were.

        From a data set of files, the shorter side is resized to 256/224 of the size and the centre cut out; from one
        in memory, the image is resized to the size. What a data set's loader adds (Fashion-MNIST's black border) is the
        caller's.
        """
        size, mode = self.look.size, InterpolationMode(self.look.interpolation)
        if self.centre_crop:
            image = transforms.resize(image, [round(size * 256 / 224)], interpolation=mode)
            image = transforms.center_crop(image, [size])
        else:
            image = transforms.resize(image, [size, size], interpolation=mode)
        inputs = self.look.normalise(transforms.pil_to_tensor(image)[None])
        return self.model(inputs)[0].softmax(0)


def load(folder: Path, *, which: str = "last") -> Trained:
    """Load the model of a finished run: "last" or "best" weights.

    Raises:
        InputError: no finished run is there, or its files are damaged.
    """
    about = read_json(folder / NAME)
    try:
        if about["task"] not in TASKS:
            raise ValueError(f"task {about['task']!r}; known: {', '.join(TASKS)}")
        centre_crop = bool(about["centre_crop"])
        backbone = checkpoints.load(f"random:{about['arch']}")
        classes = tuple(str(name) for name in about["classes"])
        stride, maps = int(about["output_stride"]), about["task"] == "segmentation"
        if maps:
            model = segmenter(backbone, len(classes), output_stride=stride)
        else:
            model = classifier(backbone, len(classes), stem=about["stem"])
        look = Preprocess(_pixels(about["image_size"]), about["mean"], about["std"], about["interpolation"])
        palette = tuple((int(r), int(g), int(b)) for r, g, b in about["palette"] or ())
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / NAME} is damaged ({error}); run the recipe again") from error
    load_weights(model, folder / ("model.safetensors" if which == "last" else "best.safetensors"))
    return Trained(model.eval(), about["task"], classes, palette, look, stride, centre_crop)


def _pixels(size: Any) -> int:
    if type(size) is not int or not 1 <= size <= LARGEST:
        raise ValueError(f"image_size {size!r}; 1 to {LARGEST}")
    return size


def predict(
    run: Path, images: Sequence[Path], *, out: Path, which: str = "last", progress: bool = False
) -> Iterator[str]:
    """Yield a line an image: its class and probability, or the files that were written for it.

    A segmentation writes ``out/NAME.png``, a palette PNG whose values are the classes, and ``out/NAME-overlay.png``.

    Args:
        run: the folder of a finished run; neither its data set nor its backbone is needed.
        images: files of any size, and folders, which stand for the images in them.
        out: where maps are written.
        which: "last" or "best" weights.
        progress: show a progress bar.

    Raises:
        InputError: before anything is written where it can be known: no run, no image, no folder ``out``, or a file
            that two images would write, or that is one of them.
        RunError: at the end, images could not be read; it names them.
    """
    if not images:
        raise InputError("no image was given; give one or more: transfer predict RUN IMAGE...")
    for path in images:
        if not path.exists():
            raise InputError(f"there is no image {path}")
    images = [image for path in images for image in (images_in(path) if path.is_dir() else [path])]
    trained = load(run, which=which)
    if trained.task == "segmentation":
        _check_targets(images, out)
    failed = []
    for path in track(images, "predict", shown=progress and len(images) > 1):
        try:
            line = _map(trained, path, out) if trained.task == "segmentation" else _label(trained, path)
        except InputError as error:
            failed.append(str(error))
        else:
            yield line
    if failed:
        raise RunError(f"{len(failed)} of {len(images)} images could not be read: {'; '.join(failed)}")


def _check_targets(images: Sequence[Path], out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder; choose another --out")
    targets = [target for path in images for target in _targets(path, out)]
    twice = sorted({target.name for target in targets if targets.count(target) > 1})
    if twice:
        raise InputError(f"two images would write {out / twice[0]}; predict them apart, or rename one")
    own = {path.resolve() for path in images}
    over = [target for target in targets if target.resolve() in own]
    if over:
        raise InputError(f"the map would overwrite the image {over[0]}; choose another --out")


def _targets(path: Path, out: Path) -> tuple[Path, Path]:
    return out / f"{path.stem}.png", out / f"{path.stem}-overlay.png"


def _label(trained: Trained, path: Path) -> str:
    probabilities = trained.probabilities(trained.picture(path))
    best = int(probabilities.argmax())
    return f"{path}\t{trained.classes[best]}\t{float(probabilities[best]):.4f}"


def _map(trained: Trained, path: Path, out: Path) -> str:
    picture = trained.picture(path)
    labels = trained.labels(picture).numpy()
    plain, mixed = _targets(path, out)
    write_whole(plain, maps.palette_png(labels, trained.palette))
    write_whole(mixed, maps.png(maps.overlay(np.asarray(picture), labels, trained.palette)))
    return f"{path}\t{plain}\t{mixed}"
