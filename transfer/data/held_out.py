"""A validation split: a part of the training images stands in for the test split, which is not looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data.sampler import generator

SHARE = 0.2
SPLIT = "validation"


def held_out(dataset: Any, *, share: float = SHARE, seed: int = 0) -> Any:
    """Return the data set without its test images: a ``share`` of the training images is tested on instead.

    Every class gives its share, to within one image, and keeps at least one for training; images with masks or float
    labels are drawn from all. The same seed draws the same images.

    Args:
        dataset: a :class:`transfer.data.dataset.Dataset` or ``MaskDataset``, or one of your own: a dataclass with
            ``train``, ``test`` and ``test_split``, whose ``train`` has ``subset(indices)``.
        share: fraction of the training images, in (0, 1).
        seed: of the draw.

    Raises:
        InputError: there are too few images, or the data set has no ``subset``.
    """
    train = dataset.train
    if not dataclasses.is_dataclass(dataset) or not hasattr(train, "subset"):
        raise InputError(
            f"no images can be held out of {type(train).__name__}; make the data set a transfer.data.dataset.Dataset"
        )
    held = torch.zeros(len(train), dtype=torch.bool)
    for group in _groups(train, seed):
        held[group[: min(round(share * len(group)), len(group) - 1)]] = True
    if not held.any():
        raise InputError(f"{len(train)} training images are too few to hold out {share:.0%} of them; add images")
    rest, part = (train.subset(chosen.nonzero()[:, 0]) for chosen in (~held, held))
    return dataclasses.replace(dataset, train=rest, test=part, test_split=SPLIT)  # type: ignore[type-var]


def _groups(split: Any, seed: int) -> Iterator[Tensor]:
    """Yield the indices of each class, or of all images if they have no class, in a random order."""
    mixed = torch.randperm(len(split), generator=generator("held out", seed))
    labels = getattr(split, "labels", None)
    if labels is None or labels.is_floating_point():
        yield mixed
        return
    for label in labels.unique():
        yield mixed[labels[mixed] == label]
