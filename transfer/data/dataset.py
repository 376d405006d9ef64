"""Data sets: a training and a test split of images, each with one label or one mask per image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data import identity

Palette = tuple[tuple[int, int, int], ...]
IGNORE = 255
"""Label of ignored pixels: VOC's borders, and padding."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images in memory.

    Args:
        pixels: uint8 (N, 3, H, W), 0 to 255.
        labels: class indices, int64 (N,), or targets of a task of your own, float32 (N, ...).

    Raises:
        InputError: a tensor has another shape or dtype.
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
    """Images on disk, decoded on access.

    Args:
        paths: N image files.
        labels: as in :class:`Images`.

    Raises:
        InputError: paths and labels differ in number, or the labels have another shape or dtype.
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
    """A named data set of K classes, or of float labels without classes.

    Args:
        name: name in messages and results.
        train: training split.
        test: test split.
        classes: K names; labels are indices into them.
        test_split: name of the split in ``test``: "test" or "val".

    Raises:
        InputError: a split is empty, a label is outside [0, K), or a float label is not finite.
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
            if part.labels.is_floating_point():
                if not part.labels.isfinite().all():
                    raise InputError(
                        f"{self.name}: labels of the {split} split are not all finite; remove those images"
                    )
                continue
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= len(self.classes):
                raise InputError(
                    f"{self.name}: labels of the {split} split run from {low} to {high}, "
                    f"allowed are 0 to {len(self.classes) - 1} ({len(self.classes)} classes); "
                    "fix the labels or the classes"
                )


def _check_labels(labels: Tensor, count: int) -> None:
    if labels.dtype not in (torch.int64, torch.float32):
        raise InputError(
            f"labels must be int64 class indices, or float32, got {labels.dtype}; convert them with .long() or .float()"
        )
    shape = tuple(labels.shape)
    if shape[:1] != (count,) or (len(shape) > 1 and labels.dtype == torch.int64):
        raise InputError(f"labels must have the shape ({count},), one per image, got {shape}")


def voc_palette(count: int = 256) -> Palette:
    """Return the RGB colours, 0 to 255, of the labels 0 to ``count`` - 1 (256 at most).

    VOC spreads the bits of a label over the channels: bits 0, 1, 2 are the highest bits of red, green and blue, bits 3,
    4, 5 the second highest, and 6 and 7 the third of red and green. So 0 is black and 255 a pale cream.
    """
    return tuple(_colour(label) for label in range(count))


def _colour(label: int) -> tuple[int, int, int]:
    red, green, blue = (
        sum((label >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue


@dataclass(frozen=True, eq=False)
class MaskFiles:
    """Images and masks on disk, decoded on access.

    Args:
        images: N image files.
        masks: N mask files, with labels from 0 to K - 1, and 255.
        classes: K.

    Raises:
        InputError: the numbers of files differ, or K is not 2 to 255.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    classes: int

    def __post_init__(self) -> None:
        if len(self.images) != len(self.masks):
            raise InputError(f"got {len(self.images)} images and {len(self.masks)} masks; give one mask per image")
        if not 2 <= self.classes <= IGNORE:
            raise InputError(f"maps need 2 to {IGNORE} classes (label {IGNORE} is ignored), got {self.classes}")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the images' names and sizes, and of the masks' names and contents."""
        return identity.joined(identity.of_names(self.images), identity.of_contents(self.masks))

    def subset(self, indices: Tensor) -> MaskFiles:
        """Return the files at ``indices`` (int64, (n,)), in that order."""
        chosen = indices.tolist()
        return MaskFiles(tuple(self.images[i] for i in chosen), tuple(self.masks[i] for i in chosen), self.classes)


@dataclass(frozen=True, eq=False)
class MaskDataset:
    """A named data set of K classes with one label per pixel.

    Args:
        name: name in messages and results.
        train: training split.
        test: test split.
        classes: K names; labels are indices into them (in VOC 0 is the background).
        palette: 256 colours, one per value that a mask can hold.
        train_split: name of the split in ``train``: "train" or "train_aug".
        test_split: name of the split in ``test``: "val".

    Raises:
        InputError: a split is empty or has another number of classes, or the palette does not have 256 colours.
    """

    name: str
    train: MaskFiles
    test: MaskFiles
    classes: tuple[str, ...]
    palette: Palette
    train_split: str
    test_split: str

    def __post_init__(self) -> None:
        if len(self.palette) != 256:
            raise InputError(f"{self.name}: a palette has 256 colours, got {len(self.palette)}")
        for split, part in ((self.train_split, self.train), (self.test_split, self.test)):
            if len(part) == 0:
                raise InputError(f"{self.name}: the {split} split has no images; give it at least one")
            if part.classes != len(self.classes):
                raise InputError(
                    f"{self.name}: the {split} split is of {part.classes} classes, the data set of {len(self.classes)}"
                )
