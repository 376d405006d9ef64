"""Random colours of training images, for a whole batch at once: brightness, contrast, saturation, and grayscale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from transfer.data.augment import Augment

LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue in a gray pixel, as in torchvision


@dataclass(frozen=True, eq=False)
class Colours:
    """Factors of brightness, contrast and saturation, float32 (3, n), and which images turn gray, bool (n,)."""

    factors: Tensor
    gray: Tensor

    def rows(self, rows: slice, device: torch.device | str = "cpu") -> Colours:
        """Return the draws of a slice of the batch, on a device."""
        return Colours(self.factors[:, rows].to(device), self.gray[rows].to(device))


def draw(augment: Augment, count: int, source: torch.Generator) -> Colours:
    """Draw the colours of ``count`` images from a CPU generator."""
    factors = 1 + augment.jitter * (2 * torch.rand(3, count, generator=source) - 1)
    return Colours(factors, torch.rand(count, generator=source) < augment.grayscale)


def recolour(pixels: Tensor, colours: Colours) -> Tensor:
    """Return pixels in [0, 255], (n, 3, H, W), with brightness, contrast and saturation changed in turn, then gray.

    Each is torchvision's blend of an image with black, with the mean of its gray, or with its gray, cut to [0, 255]; of
    floats, so that nothing is rounded in between. Returns float32, the same bits for an image in any batch: means are
    sums of integers, and every step is one product or one sum.
    """
    brightness, contrast, saturation = colours.factors[:, :, None, None, None]
    found = pixels.to(torch.float32).mul(brightness).clamp_(0, 255)
    found = _blend(found, _mean(_gray(found)), contrast)
    found = _blend(found, _gray(found), saturation)
    return torch.where(colours.gray[:, None, None, None], _gray(found), found)


def _blend(pixels: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return pixels.mul(share).add_(other * (1 - share)).clamp_(0, 255)


def _gray(pixels: Tensor) -> Tensor:
    red, green, blue = (pixels[:, i : i + 1] * share for i, share in enumerate(LUMA))
    return red.add_(green).add_(blue)


def _mean(gray: Tensor) -> Tensor:
    """Return the mean of each image, (n, 1, 1, 1), to 1/512 of a level."""
    total = gray.mul(256).round_().to(torch.int64).sum((1, 2, 3), keepdim=True)
    return total.to(torch.float32).div_(256 * gray.shape[1:].numel())
