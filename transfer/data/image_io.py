"""Read image files and masks, or only their headers; or say which file cannot be used, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from checkpoints.errors import InputError
from checkpoints.files import cache_folder, write_whole
from transfer.data import identity
from transfer.data.dataset import IGNORE, ImageFiles, MaskFiles

# What data sets are made of. Pillow knows forty formats by their content, whatever a file is called, and hands some of
# them (PostScript) to other programs.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
LARGEST = 1 << 26  # pixels; 8,192 × 8,192
ORIENTATION = 0x0112  # EXIF's tag
TURNS = {  # its values, and what shows the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"}
INDEXED = ("P", "L")  # palette or grey: the stored bytes are the labels
READERS = 16  # headers read at once: on a network disk most of the time is waiting
Size = tuple[int, int]  # height, width


def decode(source: Path | bytes, name: str | Path) -> Image.Image:
    """Decode an image to RGB of 8 bits per channel, upright as viewers show it; grey becomes three equal channels.

    ``source``: a path or the file's bytes; ``name``: what to call it in an error. Raises InputError as
    :func:`opened_image` does, and when the pixels are truncated or damaged.
    """
    with opened_image(source, name) as image:
        return upright(image).convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """Turn and mirror an image as its EXIF orientation says."""
    stated = image.size
    image.load()  # a PNG may say it after its pixels
    if image.format == "TIFF":  # Pillow turns these itself, but mixes the pixels of quarter turns without compression
        if image.size != stated:
            raise ValueError("a turned TIFF without compression, which Pillow misreads")
        return image
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def upright_size(image: Image.Image) -> Size:
    """Return (height, width) of :func:`upright` by what stands before the pixels; none is decoded."""
    width, height = image.size
    turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; 1, upright, where there is none or it is damaged, as viewers take it."""
    try:
        return int(Image.Image.getexif(image).get(ORIENTATION, 1))  # that of PNG's own class would decode
    except Exception:  # damaged metadata fail in as many ways as damaged pixels, and do not make an image unreadable
        return 1


@contextmanager
def opened_image(source: Path | bytes, name: str | Path) -> Iterator[ImageFile]:
    """Open an image; no pixel is decoded yet.

    Raises InputError as :func:`opened` does, and for more than 8 bits a channel (Pillow would clip them to
    white).
    """
    with opened(source, name) as image:
        if image.mode not in EIGHT_BIT:
            raise InputError(f"{name}: pixels of mode {image.mode}, want 8 bits a channel; convert the image")
        yield image


@contextmanager
def opened(
    source: Path | bytes, name: str | Path, *, kind: str = "image", formats: tuple[str, ...] = FORMATS
) -> Iterator[ImageFile]:
    """Open a file of one of ``formats``; what a decoder raises within the context becomes an InputError, too.

    Raises InputError when it is absent, truncated in its header, of no such format, or has more than LARGEST
    pixels.
    """
    try:
        if isinstance(source, Path) and source.is_fifo():
            raise OSError("a pipe, not a file")  # it would wait for ever
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=formats) as image:
            if image.width * image.height > LARGEST:  # before any of them is decoded
                raise InputError(f"{name}: {image.width} × {image.height} pixels, want {LARGEST} at most; shrink it")
            yield image
    except InputError:
        raise
    except Exception as error:  # a decoder that meets a damaged file raises anything, and a bomb's warning may be one
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: not a readable {kind} ({reason}); replace or remove the file") from None


def check_pairs(split: MaskFiles) -> None:
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
        sizes = decode(image, image).size[::-1], decode(mask, mask).size[::-1]
    check_sizes(image, sizes[0], mask, sizes[1])


def check_sizes(image: Path, size: Size, mask: str | Path, mask_size: Size) -> None:
    """Raise InputError unless an image and its mask have one size."""
    if size != mask_size:
        sizes = [f"{width} × {height}" for height, width in (mask_size, size)]
        raise InputError(f"{mask}: has {sizes[0]} pixels, its image {image} has {sizes[1]}; make them equal")


def read_pair(image: Path, mask: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Return an image, uint8 (3, H, W), and its labels, uint8 (H, W), 0 to ``classes`` - 1 or 255.

    Raises InputError for a file that is damaged, a mask that is not 8-bit palette or grey, a label outside
    the classes, and sizes that differ.
    """
    pixels, labels = pil_to_tensor(decode(image, image)), read_mask(mask, classes)
    check_sizes(image, (pixels.shape[1], pixels.shape[2]), mask, (labels.shape[0], labels.shape[1]))
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


def check_images(name: str, *splits: ImageFiles) -> None:
    """Read the header of every image in threads, with a progress bar in a terminal; no pixel is decoded.

    Files that were found good before, by name and size, are not read again.

    Raises:
        InputError: the first file, in the order of the splits, that is no readable image.
    """
    good = cache_folder() / "readable" / identity.joined(*(split.digest for split in splits))
    if good.exists():
        return
    paths = list(chain.from_iterable(split.paths for split in splits))
    with ThreadPoolExecutor(READERS) as threads:
        seen = threads.map(_check, paths)
        for _ in track(seen, name, len(paths), console=Console(stderr=True), disable=not sys.stderr.isatty()):
            pass
    with suppress(OSError):  # then they are looked at again
        write_whole(good, "")


def _check(path: Path) -> None:
    with opened_image(path, path):
        pass
