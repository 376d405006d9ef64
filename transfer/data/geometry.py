"""Crop, flip and resize whole batches, no loop over images: n images, 3 channels, H × W in, S × S out."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from transfer.data.draws import Draws

# interpolation -> (reach in pixels of the coarser grid, filter): those of antialiasing in Pillow and torch
FILTERS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "bilinear": (1.0, lambda x: 1 - x),
    "bicubic": (
        2.0,
        lambda x: torch.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2),
    ),
}


def pad_crop(pixels: Tensor, pad: int, draws: Draws) -> Tensor:
    """Pad with black, crop each image back to H × W at its own place, mirror some: uint8 (n, 3, H, W)."""
    count, channels, height, width = pixels.shape
    padded = F.pad(pixels, (pad, pad, pad, pad)) if pad else pixels
    across = torch.arange(width, device=pixels.device)
    rows = draws.top[:, None] + torch.arange(height, device=pixels.device)
    columns = draws.left[:, None] + torch.where(draws.flip[:, None], across.flip(0), across)
    flat = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(count, 1, height * width)
    return padded.flatten(2).gather(2, flat.expand(-1, channels, -1)).view(pixels.shape)


def resize(pixels: Tensor, size: int, interpolation: str) -> Tensor:
    """Resize to S × S with antialiasing: uint8 (n, 3, H, W) to float32 (n, 3, S, S) from 0 to 255."""
    return F.interpolate(pixels.float(), (size, size), mode=interpolation, antialias=True).clamp_(0, 255)


def resized_crop(pixels: Tensor, size: int, interpolation: str, draws: Draws) -> Tensor:
    """Resize each image's own box to S × S with antialiasing, mirror some: uint8 to float32 from 0 to 255.

    Resampling is linear and separable, so a batch of boxes is two batched matrix products.
    """
    rows = _weights(draws.top, draws.height, pixels.shape[2], size, interpolation)
    columns = _weights(draws.left, draws.width, pixels.shape[3], size, interpolation)
    columns = torch.where(draws.flip[:, None, None], columns.flip(1), columns)
    with torch.autocast(pixels.device.type, enabled=False):
        narrow = torch.bmm(pixels.flatten(1, 2).float(), columns.transpose(1, 2))  # (n, 3H, S)
        return torch.matmul(rows[:, None], narrow.unflatten(1, pixels.shape[1:3])).clamp_(0, 255)


def _weights(start: Tensor, length: Tensor, full: int, size: int, interpolation: str) -> Tensor:
    """Return what each of ``full`` pixels adds to each of ``size`` new ones: float32 (n, size, full)."""
    reach, shape = FILTERS[interpolation]
    step = (length / size)[:, None, None]
    source = torch.arange(full, device=start.device)
    target = torch.arange(size, device=start.device)[None, :, None]
    centre = start[:, None, None] + step * (target + 0.5)
    distance = (source + 0.5 - centre).abs() / step.clamp(min=1)
    inside = (source >= start[:, None, None]) & (source < (start + length)[:, None, None]) & (distance < reach)
    weights = shape(distance).where(inside, 0.0)
    return weights / weights.sum(2, keepdim=True)
