"""Random geometry and colours of training. Plain data without torch, since recipes hold it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from checkpoints.errors import InputError


@dataclass(frozen=True)
class Augment:
    """Random geometry and colours of training images; all off = none.

    Raises:
        InputError: a value is out of range.
    """

    pad_crop: int = 0
    """Black pixels added on each side before a random crop at native size; 0 = off."""
    flip: bool = False
    """Flip horizontally with probability 1/2."""
    resized_crop: tuple[float, float] | None = None
    """Area range, in (0, 1], of a random resized crop; cannot be combined with pad_crop."""
    ratio: tuple[float, float] = (0.75, 4 / 3)
    """Range of width / height of that crop."""
    jitter: float = 0.0
    """Brightness, contrast and saturation change by factors from 1 - jitter to 1 + jitter; 0 = off."""
    grayscale: float = 0.0
    """Probability that an image loses its colours."""

    def __post_init__(self) -> None:
        if self.pad_crop < 0:
            raise InputError(f"pad_crop must be 0 (off) or more pixels, got {self.pad_crop}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise InputError(f"ratio must be two numbers with 0 < low <= high, got {self.ratio}")
        for name, value in (("jitter", self.jitter), ("grayscale", self.grayscale)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} must be from 0 (off) to 1, got {value}")
        if self.resized_crop is None:
            return
        if not 0 < self.resized_crop[0] <= self.resized_crop[1] <= 1:
            raise InputError(f"resized_crop must be two areas with 0 < low <= high <= 1, got {self.resized_crop}")
        if self.pad_crop:
            raise InputError(
                f"pad_crop={self.pad_crop} and resized_crop={self.resized_crop} exclude each other; "
                "set pad_crop to 0 or resized_crop to None"
            )


@dataclass(frozen=True)
class MaskAugment:
    """Random scale, flip and crop of an image and its mask; the batches set the crop size.

    Raises:
        InputError: the scale is out of range.
    """

    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the uniform factor by which both sides of an image are scaled."""
    flip: bool = True
    """Flip horizontally with probability 1/2."""

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high or not math.isfinite(high):
            raise InputError(f"scale must be two finite factors with 0 < low <= high, got {self.scale}")
