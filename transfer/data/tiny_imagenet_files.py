"""The files of Tiny-ImageNet: which images there are, of which class, and their pixels."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data.archive import Archive
from transfer.data.decode import decode

SIDE = 64


@dataclass(frozen=True)
class Index:
    """Class names in the order of wnids.txt, and (file, class index) of each image of each split."""

    classes: tuple[str, ...]
    train: tuple[tuple[str, int], ...]
    val: tuple[tuple[str, int], ...]


def read_index(source: Archive) -> Index:
    """Read wnids.txt, words.txt, val/val_annotations.txt and the list of files.

    Raises InputError for files that are absent and for annotations that name an unknown class or image.
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

    Raises InputError for an image that is damaged or of another size.
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
