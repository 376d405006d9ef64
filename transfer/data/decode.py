"""Decode one image file, or say which one cannot be decoded."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

from PIL import Image

from checkpoints.errors import InputError

EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"}


def decode(source: Path | bytes, name: str | Path) -> Image.Image:
    """Decode an image to RGB of 8 bits a channel; grey becomes three equal channels.

    ``source``: a path or the file's bytes; ``name``: what to call it in an error. Raises InputError when it
    is absent, truncated, no image, or has more than 8 bits a channel (Pillow would clip it to white).
    """
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.mode not in EIGHT_BIT:
                raise InputError(f"{name}: pixels of mode {image.mode}, want 8 bits a channel; convert the image")
            return image.convert("RGB")
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: not a readable image ({reason}); replace or remove the file") from None
