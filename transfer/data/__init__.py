"""Data sets: where the images are, how they become batches, and the fixed set that pruning sees.

To add a data set: write ``transfer/data/sources/<name>.py`` with one function ``load(root: Path) -> Dataset`` (a dash
in the name is an underscore in the file's), and add the name to ``_NAMES``. Small images go into ``Images``
(one uint8 tensor), large ones into ``ImageFiles`` (paths). Raise ``InputError`` for what the user can mend.
A data set with a label for each pixel is a ``MapDataset``; ``sources.voc.read_voc`` reads one in the layout of VOC.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from checkpoints.errors import InputError, near

if TYPE_CHECKING:
    from transfer.data.dataset import Dataset, MapDataset

__all__ = ["Outlook", "has_maps", "load", "names", "outlook"]

_NAMES = (
    "digits", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet", "voc2012", "voc2012-aug", "voc-sample",
)  # fmt: skip
_PUBLISHED = {  # classes of each
    "fashion-mnist": 10, "cifar10": 10, "cifar100": 100, "tiny-imagenet": 200, "voc2012": 21, "voc2012-aug": 21,
}  # fmt: skip
_FOLDERS = {"imagefolder:": "imagefolder", "voc-folder:": "voc_folder"}


def names() -> list[str]:
    """Return what :func:`load` takes; the last two stand for any folder of class folders or in VOC layout."""
    return [*_NAMES, *(f"{prefix}<path>" for prefix in _FOLDERS)]


@dataclass(frozen=True)
class Outlook:
    """What is known of a published data set before it is there."""

    classes: tuple[str, ...]
    """Stand-ins for the names."""
    maps: bool
    """Whether each pixel has a label."""


def has_maps(name: str) -> bool:
    """Say whether a data set of this name has a label for each pixel."""
    return name.startswith("voc")


def outlook(name: str) -> Outlook | None:
    """Return what is known of a data set that has to be fetched or put in place; None for the others."""
    count = _PUBLISHED.get(name, 0)
    return Outlook(tuple(map(str, range(count))), has_maps(name)) if count else None


def load(name: str, *, root: Path | None = None) -> Dataset | MapDataset:
    """Load a data set by name.

    ``root`` is the folder where the user keeps data: by default the environment variable TRANSFER_DATA, else
    ``./data``. ``digits``, ``voc-sample`` and folders by path do not look at it. Raises InputError for an
    unknown name and for files that are absent, damaged or of the wrong form.
    """
    dataset: Dataset | MapDataset
    for prefix, module in _FOLDERS.items():
        if name.startswith(prefix):
            dataset = import_module(f"transfer.data.sources.{module}").load(name.removeprefix(prefix))
            return dataset
    if name not in _NAMES:
        raise InputError(f"dataset {name!r} is unknown; {near(name, names())}")
    home = root or Path(os.environ.get("TRANSFER_DATA") or "data")
    dataset = import_module(f"transfer.data.sources.{name.replace('-', '_')}").load(Path(home).expanduser())
    return dataset
