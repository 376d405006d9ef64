"""Open one image file, judge its header, decode it; or say what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from checkpoints.errors import InputError

# What data sets are made of. Pillow knows forty formats by their content, whatever a file is called, and hands some of
# them (PostScript) to other programs.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
LARGEST = 1 << 26  # pixels; 8,192 × 8,192
ORIENTATION, QUARTER_TURNS = 0x0112, {5, 6, 7, 8}  # EXIF's tag, and its values that swap width and height
EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"}


def decode(source: Path | bytes, name: str | Path) -> Image.Image:
    """Decode an image to RGB of 8 bits per channel, upright as viewers show it; grey becomes three equal channels.

    ``source``: a path or the file's bytes; ``name``: what to call it in an error. Raises InputError as
    :func:`opened_image` does, and when the pixels are truncated or damaged.
    """
    with opened_image(source, name) as image:
        return upright(image).convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """Turn and mirror an image as its EXIF orientation says."""
    return ImageOps.exif_transpose(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) of :func:`upright` from the header; no pixel is decoded."""
    width, height = image.size
    return (height, width) if image.getexif().get(ORIENTATION) in QUARTER_TURNS else (width, height)


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
