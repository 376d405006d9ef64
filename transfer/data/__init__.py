"""Data sets, their batches, and the fixed set of images that pruning uses.

To add a data set: write ``transfer/data/sources/<name>.py`` with one function ``load(root: Path) -> Dataset``
(a dash in the name is an underscore in the file's), and add a line with its task to ``_SOURCES``. Small images go
into ``Images`` (one uint8 tensor), large ones into ``ImageFiles`` (paths). Raise ``InputError`` for what the user
can fix. A data set with a label per pixel is a ``MaskDataset``; ``sources.voc.read_voc`` reads one in VOC layout.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError, near

__all__ = ["Outlook", "load", "loader", "names", "outlook", "register", "task"]


@dataclass(frozen=True)
class Source:
    """How a data set is read, and what is known before it is."""

    load: str | Callable[[Any], Any]
    """``load(root)``, or ``load(path)`` for folders by path; or the module of ``transfer.data.sources`` that has it."""
    task: str = "classification"
    """Name in :mod:`transfer.tasks`."""
    classes: int | None = None
    """Number of classes of a data set that must be downloaded or provided; None for the others."""


_SOURCES: dict[str, Source] = {  # names that end in a colon are followed by a path
    "digits": Source("digits"),
    "mnist": Source("mnist", classes=10),
    "fashion-mnist": Source("fashion_mnist", classes=10),
    "cifar10": Source("cifar10", classes=10),
    "cifar100": Source("cifar100", classes=100),
    "tiny-imagenet": Source("tiny_imagenet", classes=200),
    "voc2012": Source("voc2012", "segmentation", 21),
    "voc2012-aug": Source("voc2012_aug", "segmentation", 21),
    "voc-sample": Source("voc_sample", "segmentation"),
    "imagefolder:": Source("imagefolder"),
    "voc-folder:": Source("voc_folder", "segmentation"),
}


def names() -> list[str]:
    """Return the names that :func:`load` accepts; ``<path>`` stands for a folder, of class folders or in VOC layout."""
    return [f"{name}<path>" if name.endswith(":") else name for name in _SOURCES]


def register(name: str, load: Callable[[Any], Any], *, task: str = "classification") -> None:
    """Register a data set of your own.

    Args:
        name: its ``data.name``; users append a path to a name that ends in a colon.
        load: takes the folder where users keep data, or that path, and returns the data set.
        task: name of its task in :mod:`transfer.tasks`.

    Raises:
        InputError: the name is taken.
    """
    known = _SOURCES.get(name)
    if known is not None and getattr(known.load, "__qualname__", None) != load.__qualname__:
        raise InputError(f"dataset {name!r} exists; choose another name")
    _SOURCES[name] = Source(load, task)


def _find(name: str) -> tuple[Source, str | None]:
    """Return the source of a data set, and the path in its name.

    Raises:
        InputError: the name is unknown.
    """
    for known, source in _SOURCES.items():
        if known == name or (known.endswith(":") and name.startswith(known)):
            return source, name.removeprefix(known) if known.endswith(":") else None
    raise InputError(f"dataset {name!r} is unknown; {near(name, names())}, or --import the module that registers it")


def task(name: str) -> str:
    """Return the name of a data set's task.

    Raises:
        InputError: the data set is unknown.
    """
    return _find(name)[0].task


@dataclass(frozen=True)
class Outlook:
    """What is known of a published data set before it is on this machine."""

    classes: tuple[str, ...]
    """Placeholders for the class names."""
    palette: tuple[tuple[int, int, int], ...] = ()
    test: None = None


def outlook(name: str) -> Outlook | None:
    """Return what is known of a data set that must be downloaded or provided; None for the others."""
    count = _find(name)[0].classes
    return Outlook(tuple(map(str, range(count)))) if count else None


def loader(name: str) -> str | Callable[[Any], Any]:
    """Return what reads a data set: a registered function, or the name of a module of ``transfer.data.sources``.

    Raises:
        InputError: the data set is unknown.
    """
    return _find(name)[0].load


def load(name: str, *, root: Path | None = None) -> Any:
    """Load a data set by name: a ``Dataset`` or ``MaskDataset`` of :mod:`transfer.data.dataset`, or one of your own.

    Args:
        name: one of :func:`names`.
        root: folder where the user keeps data; None = the environment variable TRANSFER_DATA, else ``./data``.
            ``digits``, ``voc-sample`` and folders by path ignore it.

    Raises:
        InputError: the name is unknown, or files are absent, damaged or of the wrong form.
    """
    source, path = _find(name)
    read = source.load
    if isinstance(read, str):
        read = import_module(f"transfer.data.sources.{read}").load
    home = root or Path(os.environ.get("TRANSFER_DATA") or "data")
    return read(home.expanduser() if path is None else path)
