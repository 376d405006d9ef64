"""What a data set of label maps is: image files, each with a mask file that holds one label a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from checkpoints.errors import InputError
from transfer.data import identity
from transfer.data.palette import Palette

IGNORE = 255
"""The label of pixels that count nowhere: VOC's borders, and what padding adds."""


@dataclass(frozen=True, eq=False)
class MaskFiles:
    """Images and masks on disk, decoded when they are asked for.

    ``images``, ``masks``: N files each. ``classes``: K; a mask holds labels from 0 to K - 1, and 255. Raises
    InputError when the numbers of files differ or K is not 2 to 255.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    classes: int

    def __post_init__(self) -> None:
        if len(self.images) != len(self.masks):
            raise InputError(f"got {len(self.images)} images and {len(self.masks)} masks; give one mask an image")
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
class MapDataset:
    """A named data set of K classes with a label for each pixel.

    ``classes``: K names; a label is an index into them (in VOC 0 is the background). ``palette``: 256 colours,
    one for each value that a mask can hold. ``train_split``, ``test_split``: the names of the splits that
    stand in ``train`` ("train" or "train_aug") and ``test`` ("val"). Raises InputError for an empty split and
    for a split of another number of classes.
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
