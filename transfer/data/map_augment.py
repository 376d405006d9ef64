"""Which random geometry training on label maps uses. Plain data without torch: recipes hold it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from checkpoints.errors import InputError


@dataclass(frozen=True)
class MapAugment:
    """Random scale, flip and crop of an image and its mask (the crop's side is the batches').

    Raises InputError for a scale out of range.
    """

    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the factor, uniform, by which both sides of an image are resized."""
    flip: bool = True
    """Mirror left and right with probability 1/2."""

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high or not math.isfinite(high):
            raise InputError(f"scale must be two finite factors with 0 < low <= high, got {self.scale}")
