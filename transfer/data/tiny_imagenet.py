"""Tiny-ImageNet-200: 100,000 + 10,000 images of 64 px, 200 classes, read as distributed: folder or zip."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from checkpoints.download import may_make
from checkpoints.errors import InputError
from transfer.data.archive import Archive
from transfer.data.dataset import Dataset, Images
from transfer.data.tiny_imagenet_files import SIDE, Index, decoded, read_index

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
FOLDER = "tiny-imagenet-200"
COUNTS = {"classes": 200, "train": 100_000, "val": 10_000}


def load(root: Path) -> Dataset:
    """Load from ``root/tiny-imagenet-200`` or ``root/tiny-imagenet-200.zip``; ``test`` is the labelled val.

    The images are decoded once to uint8 (1.4 GB) and kept in a file beside the data; a folder that cannot be
    written only costs the decoding each time. Raises InputError for absent, truncated or wrong files and for a part
    of the data set, NotReady before the decoding within ``only_looking``.
    """
    places = (root / FOLDER, root / f"{FOLDER}.zip")
    source = next((place for place in places if place.exists()), None)
    if source is None:
        raise InputError(f"tiny-imagenet: {places[0]} and {places[1]} are absent; get {URL} and put it in {root}")
    index = read_index(Archive(source))
    _check_counts(source, index)
    tensors = _cached(Archive(source), index, root / f"{FOLDER}.uint8.safetensors")
    train, val = (Images(tensors[f"{part}_pixels"], tensors[f"{part}_labels"]) for part in ("train", "val"))
    return Dataset("tiny-imagenet", train, val, index.classes, "val")


def _check_counts(source: Path, index: Index) -> None:
    got = {"classes": len(index.classes), "train": len(index.train), "val": len(index.val)}
    if got != COUNTS:
        has, want = (f"{c['train']:,} + {c['val']:,} images of {c['classes']} classes" for c in (got, COUNTS))
        raise InputError(f"{source}: has {has}, Tiny-ImageNet {want}; get the original {URL}")


def _cached(source: Archive, index: Index, cache: Path) -> dict[str, Tensor]:
    """Return the decoded images from ``cache`` if it was made from this very list of files, else make it."""
    tensors = _read(cache, index)
    if tensors is not None:
        return tensors
    may_make(f"{source.path} is not decoded; a run decodes it to {cache}")
    with _alone(cache):  # several processes: the first decodes, the others read
        tensors = _read(cache, index)
        if tensors is None:
            tensors = decoded(source, index)
            _write(cache, index, tensors)
        return tensors


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Hold the cache's lock, where the folder can be written."""
    lock = FileLock(f"{cache}.lock")
    try:
        lock.acquire()
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _fingerprint(index: Index) -> str:
    return hashlib.sha256(repr(index).encode()).hexdigest()


def _read(cache: Path, index: Index) -> dict[str, Tensor] | None:
    """Return the tensors of a cache, mapped and not copied; None if absent, damaged or of other files."""
    try:
        with safe_open(cache, "pt") as file:
            if (file.metadata() or {}).get("files") != _fingerprint(index):
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, AttributeError, RuntimeError):  # the last two: a dtype or shape unknown to torch
        return None
    return tensors if _fits(tensors, index) else None


def _fits(tensors: dict[str, Tensor], index: Index) -> bool:
    """Say whether a cache holds what ``decoded`` gives: the keys, the shapes, and the labels of the list."""
    for part, files in (("train", index.train), ("val", index.val)):
        pixels, labels = tensors.get(f"{part}_pixels"), tensors.get(f"{part}_labels")
        if pixels is None or pixels.dtype != torch.uint8 or tuple(pixels.shape) != (len(files), 3, SIDE, SIDE):
            return False
        if labels is None or not torch.equal(labels, torch.tensor([label for _, label in files])):
            return False
    return True


def _write(cache: Path, index: Index, tensors: dict[str, Tensor]) -> None:
    """Write the cache whole or not at all; warn where it cannot be written."""
    aside = cache.with_name(f".{cache.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, aside, metadata={"files": _fingerprint(index)})
        os.replace(aside, cache)
    except (OSError, SafetensorError) as error:
        warnings.warn(f"tiny-imagenet: decoded images are not kept, {error}", stacklevel=2)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
