"""Read an image and its mask, or only their headers; or say which file cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL.ImageFile import ImageFile
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from checkpoints.errors import InputError
from transfer.data.decode import decode, opened, opened_image, upright, upright_size
from transfer.data.maps import IGNORE, MaskFiles

INDEXED = ("P", "L")  # palette or grey: the stored bytes are the labels
READERS = 16  # headers read at once: on a network disk most of the time is waiting

Size = tuple[int, int]  # width, height


def check_headers(split: MaskFiles) -> None:
    """Look at the header of every image and mask, in threads; no pixel is decoded.

    Raises InputError for the first pair, in the order of the split, that :func:`read_pair` would refuse
    whatever its pixels are.
    """
    with ThreadPoolExecutor(READERS) as threads:
        for _ in threads.map(check_pair, split.images, split.masks):
            pass


def check_pair(image: Path, mask: Path) -> None:
    """Raise InputError for headers of an image and its mask that cannot be used, or not together."""
    with opened_image(image, image) as pixels, opened_mask(mask) as labels:
        sizes = upright_size(pixels), upright_size(labels)
    if sizes[0] != sizes[1]:  # before they are refused: what stands after the pixels
        sizes = decode(image, image).size, decode(mask, mask).size
    check_sizes(image, sizes[0], mask, sizes[1])


def check_sizes(image: Path, size: Size, mask: str | Path, mask_size: Size) -> None:
    """Raise InputError unless an image and its mask have one size."""
    if size != mask_size:
        sizes = [f"{width} × {height}" for width, height in (mask_size, size)]
        raise InputError(f"{mask}: has {sizes[0]} pixels, its image {image} has {sizes[1]}; make them equal")


def read_pair(image: Path, mask: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Return an image, uint8 (3, H, W), and its labels, uint8 (H, W), 0 to ``classes`` - 1 or 255.

    Raises InputError for a file that is damaged, a mask that is not 8-bit palette or grey, a label outside
    the classes, and sizes that differ.
    """
    pixels, labels = pil_to_tensor(decode(image, image)), read_mask(mask, classes)
    check_sizes(image, (pixels.shape[2], pixels.shape[1]), mask, (labels.shape[1], labels.shape[0]))
    return pixels, labels


def read_mask(path: Path, classes: int) -> Tensor:
    """Return the labels of a mask file, uint8 (H, W): palette indices or grey values as they are stored."""
    with opened_mask(path) as image:
        labels = torch.from_numpy(np.array(upright(image)))
    highest = int((labels + 1).max())  # uint8: 255, which is allowed, becomes 0
    if highest > classes:
        raise InputError(
            f"{path}: has the label {highest - 1}, allowed are 0 to {classes - 1} and {IGNORE}; "
            "fix the mask or the class list"
        )
    return labels


@contextmanager
def opened_mask(path: Path) -> Iterator[ImageFile]:
    """Open a mask; no pixel is decoded yet. Raises InputError for a file that is no 8-bit palette or grey PNG."""
    with opened(path, path, kind="mask", formats=("PNG",)) as image:
        if image.mode not in INDEXED or _stretched(image):
            raise InputError(f"{path}: a mask of mode {image.mode}, want palette or 8-bit grey PNG; save labels")
        yield image


def _stretched(image: ImageFile) -> bool:
    """Whether Pillow multiplies the stored values, as it does for grey of 2 and 4 bits."""
    return image.mode == "L" and any(isinstance(tile[3], str) and tile[3].startswith("L;") for tile in image.tile)
