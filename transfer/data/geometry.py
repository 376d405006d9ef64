"""Crop, flip and resize: whole batches at once (n images, H × W in, S × S out), or an image and its mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from transfer.data.augment import MaskAugment
from transfer.data.draws import Draws

# interpolation -> (support in pixels of the coarser grid, filter), as in the antialiasing of Pillow and torch
FILTERS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "bilinear": (1.0, lambda x: 1 - x),
    "bicubic": (
        2.0,
        lambda x: torch.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2),
    ),
}
Pair = tuple[Tensor, Tensor]


def pad_crop(pixels: Tensor, pad: int, draws: Draws) -> Tensor:
    """Pad with black, crop each image to H × W at its own position, flip some: uint8 (n, 3, H, W)."""
    count, channels, height, width = pixels.shape
    padded = F.pad(pixels, (pad, pad, pad, pad)) if pad else pixels
    across = torch.arange(width, device=pixels.device)
    rows = draws.top[:, None] + torch.arange(height, device=pixels.device)
    columns = draws.left[:, None] + torch.where(draws.flip[:, None], across.flip(0), across)
    flat = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(count, 1, height * width)
    return padded.flatten(2).gather(2, flat.expand(-1, channels, -1)).view(pixels.shape)


def resize(pixels: Tensor, size: int, interpolation: str) -> Tensor:
    """Resize to S × S with antialiasing: uint8 (n, 3, H, W) to float32 (n, 3, S, S) in [0, 255]."""
    return F.interpolate(pixels.float(), (size, size), mode=interpolation, antialias=True).clamp_(0, 255)


def resized_crop(pixels: Tensor, size: int, interpolation: str, draws: Draws) -> Tensor:
    """Resize each image's own box to S × S with antialiasing, flip some: uint8 to float32 in [0, 255].

    Resampling is linear and separable, so a batch of boxes takes two batched matrix products.
    """
    rows = _weights(draws.top, draws.height, pixels.shape[2], size, interpolation)
    columns = _weights(draws.left, draws.width, pixels.shape[3], size, interpolation)
    columns = torch.where(draws.flip[:, None, None], columns.flip(1), columns)
    with torch.autocast(pixels.device.type, enabled=False):
        narrow = torch.bmm(pixels.flatten(1, 2).float(), columns.transpose(1, 2))  # (n, 3H, S)
        return torch.matmul(rows[:, None], narrow.unflatten(1, pixels.shape[1:3])).clamp_(0, 255)


def _weights(start: Tensor, length: Tensor, full: int, size: int, interpolation: str) -> Tensor:
    """Return the weight of each of ``full`` pixels in each of ``size`` new ones: float32 (n, size, full)."""
    reach, shape = FILTERS[interpolation]
    step = (length / size)[:, None, None]
    source = torch.arange(full, device=start.device)
    target = torch.arange(size, device=start.device)[None, :, None]
    centre = start[:, None, None] + step * (target + 0.5)
    distance = (source + 0.5 - centre).abs() / step.clamp(min=1)
    inside = (source >= start[:, None, None]) & (source < (start + length)[:, None, None]) & (distance < reach)
    weights = shape(distance).where(inside, 0.0)
    return weights / weights.sum(2, keepdim=True)


def random_crop(
    image: Tensor, mask: Tensor, augment: MaskAugment, crop: int, interpolation: str, source: torch.Generator
) -> Pair:
    """Scale both sides by a random factor, take a random ``crop`` × ``crop`` window, flip randomly.

    A scaled image with a side below ``crop`` keeps that side entirely: the caller pads. Four numbers are drawn from
    ``source`` whatever the image is.
    """
    scale, down, right, mirror = torch.rand(4, generator=source, dtype=torch.float64).tolist()
    low, high = augment.scale
    factor = low + (high - low) * scale
    height, width = (max(1, round(side * factor)) for side in mask.shape)
    image, mask = resize_pair(image, mask, [height, width], interpolation)
    top, left = int(down * (max(height - crop, 0) + 1)), int(right * (max(width - crop, 0) + 1))
    image, mask = (pixels[..., top : top + crop, left : left + crop] for pixels in (image, mask))
    return (image.flip(-1), mask.flip(-1)) if augment.flip and mirror < 0.5 else (image, mask)


def centre_crop(image: Tensor, mask: Tensor, crop: int, interpolation: str) -> Pair:
    """Resize the shorter side to ``crop`` and take the central ``crop`` × ``crop`` window."""
    image, mask = resize_pair(image, mask, [crop], interpolation)
    return transforms.center_crop(image, [crop]), transforms.center_crop(mask, [crop])


def resize_pair(image: Tensor, mask: Tensor, size: list[int], interpolation: str) -> Pair:
    """Resize to ``size``, [height, width] or [shorter side]: the image antialiased, the mask by nearest neighbour."""
    image = transforms.resize(image, size, InterpolationMode(interpolation), antialias=True)
    return image, transforms.resize(mask[None], size, InterpolationMode.NEAREST_EXACT)[0]
