"""Geometry of an image and its mask together: image uint8 (3, H, W), mask uint8 (H, W), on the CPU.

Masks are resized by the pixel under the centre ("nearest-exact"); torch's plain "nearest", which torchvision
uses for masks, takes the one under the upper left corner and so moves the labels against the image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from transfer.data.map_augment import MapAugment

Pair = tuple[Tensor, Tensor]


def random_crop(
    image: Tensor, mask: Tensor, augment: MapAugment, crop: int, interpolation: str, source: torch.Generator
) -> Pair:
    """Scale both sides by a random factor, cut out ``crop`` × ``crop`` somewhere, mirror or not.

    A scaled image with a side below ``crop`` keeps all of that side: the caller pads. Four numbers are drawn
    from ``source`` whatever the image is.
    """
    scale, down, right, mirror = torch.rand(4, generator=source, dtype=torch.float64).tolist()
    low, high = augment.scale
    factor = low + (high - low) * scale
    height, width = (max(1, round(side * factor)) for side in mask.shape)
    image, mask = resize(image, mask, [height, width], interpolation)
    top, left = int(down * (max(height - crop, 0) + 1)), int(right * (max(width - crop, 0) + 1))
    image, mask = (pixels[..., top : top + crop, left : left + crop] for pixels in (image, mask))
    return (image.flip(-1), mask.flip(-1)) if augment.flip and mirror < 0.5 else (image, mask)


def centre_crop(image: Tensor, mask: Tensor, crop: int, interpolation: str) -> Pair:
    """Resize the shorter side to ``crop`` and cut out the centre, ``crop`` × ``crop``."""
    image, mask = resize(image, mask, [crop], interpolation)
    return transforms.center_crop(image, [crop]), transforms.center_crop(mask, [crop])


def resize(image: Tensor, mask: Tensor, size: list[int], interpolation: str) -> Pair:
    """Resize to ``size``: [height, width], or [shorter side]. The image is antialiased."""
    image = transforms.resize(image, size, InterpolationMode(interpolation), antialias=True)
    return image, transforms.resize(mask[None], size, InterpolationMode.NEAREST_EXACT)[0]
