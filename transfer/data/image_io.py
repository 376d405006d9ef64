"""Read image files and masks, or only their headers; report which file is unusable, and why."""

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

# Formats found in data sets. Pillow detects forty formats by content, whatever the file name, and passes some of
# them (PostScript) to other programs.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
LARGEST = 1 << 26  # pixels; 8,192 × 8,192
ORIENTATION = 0x0112  # EXIF tag
TURNS = {  # its values, and the operation that turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"}
INDEXED = ("P", "L")  # palette or grey: the stored bytes are the labels
READERS = 16  # concurrent header reads: on a network disk latency dominates
Size = tuple[int, int]  # height, width


def decode(source: Path | bytes, name: str | Path) -> Image.Image:
    """Decode an image to 8-bit RGB, upright as viewers show it; grey becomes three equal channels.

    Args:
        source: a path or the file's bytes.
        name: how to call it in errors.

    Raises:
        InputError: as :func:`opened_image`, or the pixels are truncated or damaged.
    """
    with opened_image(source, name) as image:
        return upright(image).convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """Apply an image's EXIF orientation.

    Raises:
        ValueError: a rotated, uncompressed TIFF, which Pillow misreads.
    """
    stated = image.size
    image.load()  # a PNG may store the tag after its pixels
    if image.format == "TIFF":  # Pillow rotates these itself, but scrambles uncompressed quarter turns
        if image.size != stated:
            raise ValueError("a turned TIFF without compression, which Pillow misreads")
        return image
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def upright_size(image: Image.Image) -> Size:
    """Return (height, width) of :func:`upright` from the data before the pixels; none is decoded."""
    width, height = image.size
    turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) if it is absent or damaged, as in viewers."""
    try:
        return int(Image.Image.getexif(image).get(ORIENTATION, 1))  # PngImageFile's own would decode
    except Exception:  # damaged metadata raise anything, and do not make an image unreadable
        return 1


@contextmanager
def opened_image(source: Path | bytes, name: str | Path) -> Iterator[ImageFile]:
    """Open an image without decoding pixels.

    Raises:
        InputError: as :func:`opened`, or more than 8 bits per channel (Pillow would clip them to white).
    """
    with opened(source, name) as image:
        if image.mode not in EIGHT_BIT:
            raise InputError(f"{name}: pixels of mode {image.mode}, want 8 bits per channel; convert the image")
        yield image


@contextmanager
def opened(
    source: Path | bytes, name: str | Path, *, kind: str = "image", formats: tuple[str, ...] = FORMATS
) -> Iterator[ImageFile]:
    """Open a file of one of ``formats``; a decoder's errors within the context become InputErrors, too.

    Raises:
        InputError: the file is absent, truncated in its header, of no such format, or has more than LARGEST pixels.
    """
    try:
        if isinstance(source, Path) and source.is_fifo():
            raise OSError("a pipe, not a file")  # reading would block
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=formats) as image:
            if image.width * image.height > LARGEST:  # before decoding
                raise InputError(f"{name}: {image.width} × {image.height} pixels, want {LARGEST} at most; shrink it")
            yield image
    except InputError:
        raise
    except Exception as error:  # decoders raise anything on damaged files, and a decompression bomb warning may be one
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: not a readable {kind} ({reason}); replace or remove the file") from None


def check_pairs(split: MaskFiles) -> None:
    """Check the header of every image and mask, in threads, without decoding pixels.

    Raises:
        InputError: for the first pair, in split order, that :func:`read_pair` would reject whatever its pixels are.
    """
    with ThreadPoolExecutor(READERS) as threads:
        for _ in threads.map(check_pair, split.images, split.masks):
            pass


def check_pair(image: Path, mask: Path) -> None:
    """Check the headers of an image and its mask.

    Raises:
        InputError: one of them is unusable, or their sizes differ.
    """
    with opened_image(image, image) as pixels, opened_mask(mask) as labels:
        sizes = upright_size(pixels), upright_size(labels)
    if sizes[0] != sizes[1]:  # before rejecting: the tag may follow the pixels
        sizes = decode(image, image).size[::-1], decode(mask, mask).size[::-1]
    check_sizes(image, sizes[0], mask, sizes[1])


def check_sizes(image: Path, size: Size, mask: str | Path, mask_size: Size) -> None:
    """Check that an image and its mask have the same size.

    Raises:
        InputError: the sizes differ.
    """
    if size != mask_size:
        sizes = [f"{width} × {height}" for height, width in (mask_size, size)]
        raise InputError(f"{mask}: has {sizes[0]} pixels, its image {image} has {sizes[1]}; make them equal")


def read_pair(image: Path, mask: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Return an image, uint8 (3, H, W), and its labels, uint8 (H, W), 0 to ``classes`` - 1 or 255.

    Raises:
        InputError: a file is damaged, the mask is not 8-bit palette or grey, a label is outside the classes, or the
            sizes differ.
    """
    pixels, labels = pil_to_tensor(decode(image, image)), read_mask(mask, classes)
    check_sizes(image, (pixels.shape[1], pixels.shape[2]), mask, (labels.shape[0], labels.shape[1]))
    return pixels, labels


def read_mask(path: Path, classes: int) -> Tensor:
    """Return the labels of a mask file, uint8 (H, W): palette indices or grey values as stored.

    Raises:
        InputError: as :func:`opened_mask`, the file is damaged, or a label is outside the classes.
    """
    with opened_mask(path) as image:
        labels = torch.from_numpy(np.array(upright(image)))
    highest = int((labels + 1).max())  # uint8 overflow: 255, which is allowed, becomes 0
    if highest > classes:
        raise InputError(
            f"{path}: has the label {highest - 1}, allowed are 0 to {classes - 1} and {IGNORE}; "
            "fix the mask or the class list"
        )
    return labels


@contextmanager
def opened_mask(path: Path) -> Iterator[ImageFile]:
    """Open a mask without decoding pixels.

    Raises:
        InputError: the file is not an 8-bit palette or grey PNG.
    """
    with opened(path, path, kind="mask", formats=("PNG",)) as image:
        if image.mode not in INDEXED or _stretched(image):
            raise InputError(f"{path}: a mask of mode {image.mode}, want palette or 8-bit grey PNG; save labels")
        yield image


def _stretched(image: ImageFile) -> bool:
    """Return whether Pillow rescales the stored values, as it does for 2- and 4-bit grey."""
    return image.mode == "L" and any(isinstance(tile[3], str) and tile[3].startswith("L;") for tile in image.tile)


def check_images(name: str, *splits: ImageFiles) -> None:
    """Check the header of every image in threads, with a progress bar in a terminal; no pixels are decoded.

    Files that passed before, by name and size, are not read again.

    Raises:
        InputError: for the first file, in split order, that is not a readable image.
    """
    good = cache_folder() / "readable" / identity.joined(*(split.digest for split in splits))
    if good.exists():
        return
    paths = list(chain.from_iterable(split.paths for split in splits))
    with ThreadPoolExecutor(READERS) as threads:
        seen = threads.map(_check, paths)
        for _ in track(seen, name, len(paths), console=Console(stderr=True), disable=not sys.stderr.isatty()):
            pass
    with suppress(OSError):  # not cached: checked again next time
        write_whole(good, "")


def _check(path: Path) -> None:
    with opened_image(path, path):
        pass
