"""Tiny-ImageNet-200: 100,000 + 10,000 images of 64 px, 200 classes, read as distributed: folder or zip."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from checkpoints.download import may_make
from checkpoints.errors import InputError
from checkpoints.files import whole
from transfer.data.dataset import Dataset, Images
from transfer.data.image_io import decode
from transfer.data.sources.archive import Archive

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
FOLDER = "tiny-imagenet-200"
COUNTS = {"classes": 200, "train": 100_000, "val": 10_000}
SIDE = 64


def load(root: Path) -> Dataset:
    """Load from ``root/tiny-imagenet-200`` or ``root/tiny-imagenet-200.zip``; ``test`` is the labelled val.

    The images are decoded once to uint8 (1.4 GB) and kept in a file beside the data. Where the folder cannot be
    written, they are decoded each time.

    Raises:
        InputError: files are absent, truncated or wrong, or the data set is not complete.
        NotReady: the images would have to be decoded, within ``only_looking``.
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
    """Return whether a cache has the keys and shapes of ``decoded`` and the labels of the list."""
    for part, files in (("train", index.train), ("val", index.val)):
        pixels, labels = tensors.get(f"{part}_pixels"), tensors.get(f"{part}_labels")
        if pixels is None or pixels.dtype != torch.uint8 or tuple(pixels.shape) != (len(files), 3, SIDE, SIDE):
            return False
        if labels is None or not torch.equal(labels, torch.tensor([label for _, label in files])):
            return False
    return True


def _write(cache: Path, index: Index, tensors: dict[str, Tensor]) -> None:
    """Write the cache whole or not at all; warn where it cannot be written."""
    try:
        with whole(cache) as aside:
            save_file(tensors, aside, metadata={"files": _fingerprint(index)})
    except (OSError, SafetensorError) as error:
        warnings.warn(f"tiny-imagenet: decoded images are not kept, {error}", stacklevel=2)


@dataclass(frozen=True)
class Index:
    """Class names in the order of wnids.txt, and (file, class index) of each image of each split."""

    classes: tuple[str, ...]
    train: tuple[tuple[str, int], ...]
    val: tuple[tuple[str, int], ...]


def read_index(source: Archive) -> Index:
    """Read wnids.txt, words.txt, val/val_annotations.txt and the list of files.

    Raises:
        InputError: a file is absent, or an annotation names an unknown class or image.
    """
    wnids = source.read("wnids.txt").decode(errors="replace").split()
    number = {wnid: i for i, wnid in enumerate(wnids)}
    words = dict(
        line.split("\t", 1) for line in source.read("words.txt").decode(errors="replace").splitlines() if "\t" in line
    )
    files = [name for name in source.names() if name.lower().endswith((".jpeg", ".jpg"))]
    train = [name for name in files if name.startswith("train/")]
    val = {name for name in files if name.startswith("val/")}
    unknown = next((name for name in train if name.split("/")[1] not in number), None)
    if unknown:
        raise InputError(f"{source.path}: {unknown} is in no class of wnids.txt; get the data again")
    return Index(
        tuple(words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids),
        tuple((name, number[name.split("/")[1]]) for name in train),
        _annotated(source, val, number),
    )


def _annotated(source: Archive, files: set[str], number: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """Return the validation images as val_annotations.txt lists them: name, class, box."""
    found = []
    for line in source.read("val/val_annotations.txt").decode(errors="replace").splitlines():
        name, wnid = (*line.split("\t"), "", "")[:2]
        if f"val/images/{name}" not in files or wnid not in number:
            raise InputError(
                f"{source.path}: val/val_annotations.txt has the line {line[:60]!r}, "
                "want a file of val/images, a tab and a class of wnids.txt; get the data again"
            )
        found.append((f"val/images/{name}", number[wnid]))
    return tuple(found)


def decoded(source: Archive, index: Index) -> dict[str, Tensor]:
    """Decode all images: train_pixels, val_pixels uint8 (N, 3, 64, 64), train_labels, val_labels int64 (N,).

    Raises:
        InputError: an image is damaged or has another size.
    """
    tensors = {}
    for part, files in (("train", index.train), ("val", index.val)):
        tensors[f"{part}_pixels"] = _pixels(source, [name for name, _ in files], part)
        tensors[f"{part}_labels"] = torch.tensor([label for _, label in files], dtype=torch.int64)
    return tensors


def _pixels(source: Archive, names: list[str], part: str) -> Tensor:
    pixels = torch.empty(len(names), 3, SIDE, SIDE, dtype=torch.uint8)

    def fill(i: int) -> None:
        image = decode(source.read(names[i]), f"{source.path}: {names[i]}")
        if image.size != (SIDE, SIDE):
            raise InputError(f"{source.path}: {names[i]} has {image.size} pixels, want {(SIDE, SIDE)}; get it again")
        pixels[i] = torch.from_numpy(np.array(image)).permute(2, 0, 1)

    quiet = not sys.stderr.isatty()
    with ThreadPoolExecutor() as threads:  # Pillow decodes outside the interpreter's lock
        done = threads.map(fill, range(len(names)))
        for _ in track(done, f"tiny-imagenet {part}", len(names), console=Console(stderr=True), disable=quiet):
            pass
    return pixels
