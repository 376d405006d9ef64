"""Read an image and its mask, or say which file cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from checkpoints.errors import InputError
from transfer.data.decode import LARGEST, decode
from transfer.data.maps import IGNORE

INDEXED = ("P", "L")  # palette or grey: the stored bytes are the labels


def read_pair(image: Path, mask: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Return an image, uint8 (3, H, W), and its labels, uint8 (H, W), 0 to ``classes`` - 1 or 255.

    Raises InputError for a file that is damaged, a mask that is not 8-bit palette or grey, a label outside
    the classes, and sizes that differ.
    """
    pixels, labels = pil_to_tensor(decode(image, image)), read_mask(mask, classes)
    if pixels.shape[1:] != labels.shape:
        sizes = [f"{width} × {height}" for height, width in (labels.shape, pixels.shape[1:])]
        raise InputError(f"{mask}: has {sizes[0]} pixels, its image {image} has {sizes[1]}; make them equal")
    return pixels, labels


def read_mask(path: Path, classes: int) -> Tensor:
    """Return the labels of a mask file, uint8 (H, W): palette indices or grey values as they are stored."""
    try:
        if path.is_fifo():
            raise OSError("a pipe, not a file")  # it would wait for ever
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > LARGEST:  # before any of them is decoded
                raise InputError(f"{path}: {image.width} × {image.height} pixels, want {LARGEST} at most; shrink it")
            if image.mode not in INDEXED or _stretched(image):
                raise InputError(f"{path}: a mask of mode {image.mode}, want palette or 8-bit grey PNG; save labels")
            labels = torch.from_numpy(np.array(image))
    except InputError:
        raise
    except Exception as error:  # a decoder that meets a damaged file raises anything
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable mask ({reason}); replace the file") from None
    highest = int((labels + 1).max())  # uint8: 255, which is allowed, becomes 0
    if highest > classes:
        raise InputError(
            f"{path}: has the label {highest - 1}, allowed are 0 to {classes - 1} and {IGNORE}; "
            "fix the mask or the class list"
        )
    return labels


def _stretched(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow multiplies the stored values, as it does for grey of 2 and 4 bits."""
    return image.mode == "L" and any(isinstance(tile[3], str) and tile[3].startswith("L;") for tile in image.tile)
