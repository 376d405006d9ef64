"""Backbones that others published: the catalogue's, timm's, open_clip's and the one that ships here, by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import catalog, embedded, fetch
from .backbone import Backbone
from .catalog import Entry
from .download import NotReady
from .errors import InputError, near

Root = str | os.PathLike[str] | None
TIMM, OPEN_CLIP = "timm:", "open_clip:"


@dataclass(frozen=True)
class Verified:
    """A checked file; ``against`` says what it was compared with, "nothing" where nothing is known."""

    path: Path
    sha256: str
    against: str


def is_published(name: str) -> bool:
    """Return whether ``describe`` may know this name."""
    return name == embedded.NAME or name in catalog.entries() or name.startswith((TIMM, OPEN_CLIP))


def describe(name: str) -> Entry:
    """Return what is known of a published backbone, without its weights.

    Raises:
        InputError: the name is unknown.
    """
    if name.startswith(TIMM):
        from . import timm_hub

        return timm_hub.entry(name.removeprefix(TIMM))
    if name.startswith(OPEN_CLIP):
        from . import open_clip_hub

        return open_clip_hub.entry(name.removeprefix(OPEN_CLIP))
    if name == embedded.NAME:
        return embedded.entry()
    if name not in catalog.entries():
        raise InputError(f"no published backbone {name!r}; {near(name, [*catalog.entries(), embedded.NAME])}")
    return catalog.entries()[name]


def load(name: str, root: Root) -> Backbone:
    """Get the file, check it, and convert its weights."""
    from .convert import to_trunk
    from .trunk import trunk
    from .weights_file import read

    entry = describe(name)
    path = _file(entry, root)
    sha256 = fetch.check(path, entry.source)
    weights, _ = read(path)
    return entry.backbone(to_trunk(weights, trunk(entry.arch), str(path)), sha256)


def stand_in(name: str, seed: int) -> Backbone:
    """Return a published backbone with random weights instead of its own, which need not be on this machine."""
    from . import untrained

    entry = describe(name)
    return entry.backbone(dict(untrained.load(entry.arch, seed).state_dict), sha256="")


def obtain(name: str, *, root: Root = None) -> Path:
    """Get the file of a published backbone without loading it, and return its checked path."""
    entry = describe(name)
    path = _file(entry, root)
    fetch.check(path, entry.source)
    return path


def verify(name: str, *, root: Root = None) -> Verified:
    """Check the file of a published backbone on this machine; nothing is downloaded.

    Raises:
        NotReady: the file is not on this machine.
        InputError: the file has another size or another hash.
    """
    entry = describe(name)
    path = fetch.find(entry.source, _folder(entry, root))
    if path is None:
        where = fetch.home(root) / entry.source.file
        how = entry.source.remedy(where) if entry.source.package else f"fetch it, or put the file at {where}"
        raise NotReady(f"{name} is not on this machine; {how}")
    return Verified(path, fetch.check(path, entry.source), fetch.measure(path, entry.source))


def _file(entry: Entry, root: Root) -> Path:
    return fetch.obtain(entry.source, _folder(entry, root))


def _folder(entry: Entry, root: Root) -> Root:
    return embedded.FOLDER if entry.name == embedded.NAME else root
