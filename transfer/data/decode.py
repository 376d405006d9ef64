"""Decode one image file, or say which one cannot be decoded."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from checkpoints.errors import InputError

# What data sets are made of. Pillow knows forty formats by their content, whatever a file is called, and hands some of
# them (PostScript) to other programs.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
LARGEST = 1 << 26  # pixels; 8,192 × 8,192
EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"}


def decode(source: Path | bytes, name: str | Path) -> Image.Image:
    """Decode an image to RGB of 8 bits a channel; grey becomes three equal channels.

    ``source``: a path or the file's bytes; ``name``: what to call it in an error. Raises InputError when it
    is absent, truncated, no image in one of FORMATS, has more than LARGEST pixels, or has more than 8 bits a
    channel (Pillow would clip it to white).
    """
    try:
        if isinstance(source, Path) and source.is_fifo():
            raise OSError("a pipe, not a file")  # it would wait for ever
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if image.width * image.height > LARGEST:  # before any of them is decoded
                raise InputError(f"{name}: {image.width} × {image.height} pixels, want {LARGEST} at most; shrink it")
            if image.mode not in EIGHT_BIT:
                raise InputError(f"{name}: pixels of mode {image.mode}, want 8 bits a channel; convert the image")
            return image.convert("RGB")
    except InputError:
        raise
    except Exception as error:  # a decoder that meets a damaged file raises anything, and a bomb's warning may be one
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: not a readable image ({reason}); replace or remove the file") from None
