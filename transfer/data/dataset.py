"""What a data set is: a training and a test split of labelled images, in memory or as files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data import identity


@dataclass(frozen=True, eq=False)
class Images:
    """Images in memory.

    ``pixels``: uint8 (N, 3, H, W), 0 to 255. ``labels``: int64 (N,). Raises InputError for another shape or
    dtype.
    """

    pixels: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.pixels.shape), self.pixels.dtype
        if dtype != torch.uint8:
            raise InputError(f"images must be uint8 from 0 to 255, got {dtype}; convert them with .to(torch.uint8)")
        if len(shape) != 4 or shape[1] != 3 or 0 in shape[2:]:
            raise InputError(f"images must have the shape (N, 3, H, W), got {shape}; repeat a grey channel three times")
        _check_labels(self.labels, shape[0])

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of pixels and labels."""
        return identity.of_tensors(self.pixels, self.labels)

    def subset(self, indices: Tensor) -> Images:
        """Return the images at ``indices`` (int64, (n,)), in that order."""
        return Images(self.pixels[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images on disk, decoded when they are asked for.

    ``paths``: N image files. ``labels``: int64 (N,). Raises InputError when the two do not fit.
    """

    paths: tuple[Path, ...]
    labels: Tensor

    def __post_init__(self) -> None:
        _check_labels(self.labels, len(self.paths))

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files' names, their folders' names, their sizes, and the labels."""
        return identity.joined(identity.of_names(self.paths), identity.of_tensors(self.labels))

    def subset(self, indices: Tensor) -> ImageFiles:
        """Return the files at ``indices`` (int64, (n,)), in that order."""
        return ImageFiles(tuple(self.paths[i] for i in indices.tolist()), self.labels[indices])


Split = Images | ImageFiles


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set of K classes.

    ``classes``: K names; a label is an index into them. ``test_split``: the name of the split that stands in
    ``test``, "test" or "val". Raises InputError for an empty split and for labels outside [0, K).
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    test_split: str
    train_split: ClassVar[str] = "train"

    def __post_init__(self) -> None:
        for split, part in (("train", self.train), (self.test_split, self.test)):
            if len(part) == 0:
                raise InputError(f"{self.name}: the {split} split has no images; give it at least one")
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= len(self.classes):
                raise InputError(
                    f"{self.name}: labels of the {split} split run from {low} to {high}, "
                    f"allowed are 0 to {len(self.classes) - 1} ({len(self.classes)} classes); "
                    "fix the labels or the classes"
                )


def _check_labels(labels: Tensor, count: int) -> None:
    if labels.dtype != torch.int64:
        raise InputError(f"labels must be int64 class indices, got {labels.dtype}; convert them with .long()")
    if tuple(labels.shape) != (count,):
        raise InputError(f"labels must have the shape ({count},), one an image, got {tuple(labels.shape)}")
