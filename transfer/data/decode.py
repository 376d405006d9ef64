"""Open one image file, judge its header, decode it; or say what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.ImageFile import ImageFile

from checkpoints.errors import InputError

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


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) of :func:`upright` by what stands before the pixels; none is decoded."""
    width, height = image.size
    turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


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
