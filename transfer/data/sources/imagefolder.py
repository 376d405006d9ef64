"""Any folder of class folders: ``path/train/<class>/*.jpg`` and ``path/val/<class>/*.jpg`` (or ``test``)."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from checkpoints.errors import InputError
from transfer.data.dataset import Dataset, ImageFiles
from transfer.data.image_io import check_images

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")
LAYOUT = "want <path>/train/<class>/<image> and <path>/val/<class>/<image> (or test)"


def load(path: str) -> Dataset:
    """Load a folder; classes are its class folders in sorted order, and ``val`` is preferred to ``test``.

    Only headers are read here; the batches decode the pixels.

    Raises:
        InputError: a folder is absent or unreadable, a class has no images, the two splits have different class
            folders, or a file has no image header.
    """
    if not path:
        raise InputError(f"imagefolder: no path given; {LAYOUT}")
    home = Path(path).expanduser()
    held = next((split for split in ("val", "test") if (home / split).is_dir()), None)
    if not (home / "train").is_dir() or held is None:
        missing = "train" if held else "val or test" if (home / "train").is_dir() else "train"
        raise InputError(f"imagefolder {home}: no folder {missing} in it; {LAYOUT}")
    classes = _classes(home / "train")
    _check_same(home, classes, held, _classes(home / held))
    train, test = _files(home / "train", classes), _files(home / held, classes)
    dataset = Dataset(f"imagefolder:{path}", train, test, tuple(classes), held)
    check_images(dataset.name, train, test)
    return dataset


def _classes(folder: Path) -> list[str]:
    try:
        names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
    if not names:
        raise InputError(f"{folder}: has no class folders; {LAYOUT}")
    return names


def _check_same(home: Path, train: list[str], held: str, test: list[str]) -> None:
    lacking = [f"{name} is not in {held}" for name in train if name not in set(test)]
    lacking += [f"{name} is not in train" for name in test if name not in set(train)]
    if lacking:
        shown = ", ".join(lacking[:3]) + (f", and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise InputError(f"imagefolder {home}: class folders of train and {held} differ: {shown}; make them agree")


def _files(folder: Path, classes: list[str]) -> ImageFiles:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = images_in(folder / name)
        paths += found
        labels += [label] * len(found)
    return ImageFiles(tuple(paths), torch.tensor(labels, dtype=torch.int64))


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, those in subfolders too, in sorted order.

    Links to folders are followed. Each folder is read once, because a link may lead to a folder that holds the link.

    Raises:
        InputError: the folder has no images or cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions")

    seen = {_identity(place) for place in (folder, *folder.resolve().parents)}
    found: list[Path] = []
    for top, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        found += [Path(top, name) for name in names if not name.startswith(".")]
        new = {
            _identity(Path(top, name)): name for name in sorted(folders, reverse=True)
        }  # of two names of one folder, the first
        folders[:] = sorted(name for identity, name in new.items() if identity not in seen)
        seen |= new.keys()
    images = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
    if not images:
        raise InputError(f"{folder}: has no images ({', '.join(SUFFIXES)}); add some or remove the folder")
    return images


def _identity(folder: Path) -> tuple[int, int]:
    """Return the device and inode of a folder, which are the same by any name or link."""
    try:
        status = folder.stat()
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
    return status.st_dev, status.st_ino
