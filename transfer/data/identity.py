"""What identifies a data set, wherever it is stored: its classes and a digest of each split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from checkpoints.errors import InputError

_ANY = ("utf-8", "surrogateescape")  # a file's name need not be text


def of_tensors(*tensors: Tensor) -> str:
    """Return the SHA-256 of the tensors' dtypes, shapes and contents."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        sha.update(tensor.contiguous().cpu().numpy().data)
    return sha.hexdigest()


def of_names(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of each file's name, its folder's name and its size in bytes, in order.

    Raises:
        InputError: a file is gone.
    """
    return _of_files(paths, lambda path: f"{path.parent.name}/{path.name}\0{path.stat().st_size}\0".encode(*_ANY))


def of_contents(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of each file's name and content, in order.

    Raises:
        InputError: a file is gone.
    """
    return _of_files(paths, lambda path: f"{path.name}\0".encode(*_ANY) + hashlib.sha256(path.read_bytes()).digest())


def _of_files(paths: Iterable[Path], told: Callable[[Path], bytes]) -> str:
    sha = hashlib.sha256()
    for path in paths:
        try:
            sha.update(told(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); was it removed just now?") from None
    return sha.hexdigest()


def joined(*digests: str) -> str:
    """Return one digest of several digests."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def fingerprint(dataset: Any) -> dict[str, Any]:
    """Return what identifies a data set, as JSON types: class names in order, and the facts of each split.

    Images in memory and masks count by content, image files by name and size. The path does not count.
    """
    named = (("train", dataset.train_split), ("test", dataset.test_split))
    splits = {
        key: {"split": name, "images": len(getattr(dataset, key)), "digest": getattr(dataset, key).digest}
        for key, name in named
    }
    return {"classes": list(dataset.classes), **splits}


def difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in a few words how two fingerprints differ; empty when they are equal."""
    found = class_difference(was["classes"], now["classes"])
    for key in ("train", "test"):
        old, new = was[key], now[key]
        if old == new:
            continue
        if old["split"] != new["split"]:
            found += f"; the {key} split was {old['split']}, now {new['split']}"
        elif old["images"] != new["images"]:
            found += f"; {new['split']} had {old['images']} images, now {new['images']}"
        else:
            found += f"; {new['split']} has as many images as before, but not the same ones or not the same labels"
    return found.removeprefix("; ")


def class_difference(was: Sequence[str], now: Sequence[str]) -> str:
    """Return in a few words how two lists of classes differ; empty when they are equal."""
    if len(was) != len(now):
        added, gone = ([name for name in these if name not in {*those}] for these, those in ((now, was), (was, now)))
        what = f"new: {', '.join(added[:3])}" if added else f"gone: {', '.join(gone[:3])}"
        return f"there were {len(was)} classes, now {len(now)} ({what})"
    other = [(i, old, new) for i, (old, new) in enumerate(zip(was, now, strict=True)) if old != new]
    if not other:
        return ""
    index, old, new = other[0]
    more = f", and {len(other) - 1} more" if len(other) > 1 else ""
    return f"class {index} was {old!r}, now {new!r}{more}"
