"""predict(): what a trained model sees in images: a class each, or a map each as palette PNG and overlay."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from checkpoints.errors import InputError
from transfer.data.sources.imagefolder import images_in
from transfer.errors import RunError
from transfer.files import write_whole
from transfer.report import maps
from transfer.report.progress import track
from transfer.trained import Trained, load


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
