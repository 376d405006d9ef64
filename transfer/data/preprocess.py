"""Model inputs: size, resampling, normalisation, and the geometry of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from checkpoints.errors import InputError, near
from transfer.data.augment import Augment
from transfer.data.geometry import FILTERS


@dataclass(frozen=True)
class Preprocess:
    """How images become inputs of the model.

    Attributes:
        size: side in pixels.
        mean: per channel, for pixels in [0, 1].
        std: per channel, for pixels in [0, 1].
        interpolation: "bilinear" or "bicubic".
        augment: None = the test-time transform.

    Raises:
        InputError: a value is out of range.
    """

    size: int
    mean: Sequence[float]
    std: Sequence[float]
    interpolation: str = "bilinear"
    augment: Augment | None = None
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"image size must be 1 pixel or more, got {self.size}")
        if self.interpolation not in FILTERS:
            raise InputError(f"interpolation {self.interpolation!r} is unknown; {near(self.interpolation, [*FILTERS])}")
        if len(self.mean) != 3 or not all(map(math.isfinite, self.mean)):
            raise InputError(f"mean must be three finite numbers, one per channel, got {self.mean}")
        if len(self.std) != 3 or not all(0 < s < math.inf for s in self.std):
            raise InputError(f"std must be three finite numbers above 0, one per channel, got {self.std}")

    def normalise(self, pixels: Tensor) -> Tensor:
        """Turn a batch of pixels in [0, 255], (n, 3, S, S), into float32 inputs (x / 255 - mean) / std.

        Float32 ``pixels`` are overwritten.
        """
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        mean, std = (torch.tensor(v, dtype=torch.float32, device=pixels.device) for v in (self.mean, self.std))
        inputs = pixels.to(torch.float32, memory_format=layout)
        return inputs.mul_(1 / 255).sub_(mean[:, None, None]).div_(std[:, None, None])
