"""Random augmentation parameters: one crop box and one flip per image, drawn for a whole batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transfer.data.augment import Augment

TRIES = 10  # attempts at a box that fits, as in torchvision's RandomResizedCrop


@dataclass(frozen=True, eq=False)
class Draws:
    """Crop boxes in pixels, int64 (n,), and flips, bool (n,); pad_crop boxes refer to the padded image."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor

    def rows(self, rows: slice, device: torch.device | str = "cpu") -> Draws:
        """Return the draws of a slice of the batch, on a device."""
        fields = (self.top, self.left, self.height, self.width, self.flip)
        return Draws(*(field[rows].to(device) for field in fields))


def draw(augment: Augment, count: int, height: int, width: int, source: torch.Generator) -> Draws:
    """Draw crops and flips for ``count`` images of ``height`` × ``width`` pixels from a CPU generator."""
    if augment.resized_crop is not None:
        high, wide = _boxes(augment, count, height, width, source)
    else:
        high, wide = torch.full((count,), height), torch.full((count,), width)
    top = _up_to(height + 2 * augment.pad_crop - high, source)
    left = _up_to(width + 2 * augment.pad_crop - wide, source)
    flip = torch.rand(count, generator=source) < 0.5 if augment.flip else torch.zeros(count, dtype=torch.bool)
    return Draws(top, left, high, wide, flip)


def _up_to(most: Tensor, source: torch.Generator) -> Tensor:
    """Draw integers from 0 to ``most``, inclusive."""
    return (torch.rand(len(most), generator=source, dtype=torch.float64) * (most + 1)).long()


def _boxes(augment: Augment, count: int, height: int, width: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw heights and widths of resized crops: area and log(width / height) uniform, the first that fits."""
    assert augment.resized_crop is not None
    uniform = torch.rand(2, count, TRIES, generator=source, dtype=torch.float64)
    area = height * width * _between(*augment.resized_crop, uniform[0])
    ratio = _between(math.log(augment.ratio[0]), math.log(augment.ratio[1]), uniform[1]).exp()
    wide, high = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)
    first = fits.int().argmax(1, keepdim=True)
    wide, high = wide.gather(1, first)[:, 0], high.gather(1, first)[:, 0]
    largest = _largest(augment, height, width)
    return high.where(fits.any(1), largest[0]), wide.where(fits.any(1), largest[1])


def _between(low: float, high: float, uniform: Tensor) -> Tensor:
    return low + (high - low) * uniform


def _largest(augment: Augment, height: int, width: int) -> tuple[int, int]:
    """Return the largest box of an allowed ratio, for images where no attempt fitted."""
    low, high = augment.ratio
    if width / height < low:
        return max(1, round(width / low)), width
    if width / height > high:
        return height, max(1, round(height * high))
    return height, width
