"""Data sets: where the images are, how they become batches, and the fixed set that pruning sees.

To add a data set: write ``transfer/data/<name>.py`` with one function ``load(root: Path) -> Dataset`` (a dash
in the name is an underscore in the file's), and add the name to ``_NAMES``. Small images go into ``Images``
(one uint8 tensor), large ones into ``ImageFiles`` (paths). Raise ``InputError`` for what the user can mend.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from checkpoints.errors import InputError, near

if TYPE_CHECKING:
    from transfer.data.dataset import Dataset

__all__ = ["load", "names"]

_NAMES = ("digits", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet")
_FOLDER = "imagefolder:"


def names() -> list[str]:
    """Return what :func:`load` takes; the last stands for any folder of class folders."""
    return [*_NAMES, f"{_FOLDER}<path>"]


def load(name: str, *, root: Path | None = None) -> Dataset:
    """Load a data set by name.

    ``root`` is the folder where the user keeps data: by default the environment variable TRANSFER_DATA, else
    ``./data``. ``digits`` and ``imagefolder:<path>`` do not look at it. Raises InputError for an unknown name
    and for files that are absent, damaged or of the wrong form.
    """
    if name.startswith(_FOLDER):
        from transfer.data import imagefolder

        return imagefolder.load(name.removeprefix(_FOLDER))
    if name not in _NAMES:
        raise InputError(f"dataset {name!r} is unknown; {near(name, names())}")
    home = root or Path(os.environ.get("TRANSFER_DATA") or "data")
    dataset: Dataset = import_module(f"transfer.data.{name.replace('-', '_')}").load(Path(home).expanduser())
    return dataset
