"""The kept values of a tensor: as they are, or split, their last bytes (sign and exponent of a float) entropy-coded.

Few exponents occur, so that their bytes take half the space; the other bytes of a float are as good as random.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .zstd import compress, decompress

Bytes = NDArray[np.uint8]


def split(values: Bytes) -> bytes:
    """Return the values, (count, bytes of one value) in little-endian order: all but the last bytes, then a frame."""
    return values[:, :-1].tobytes() + compress(values[:, -1].tobytes())


def joined(content: bytes | memoryview, kept: int, width: int) -> Bytes:
    """Return the (kept, width) bytes of ``split``.

    Raises:
        ValueError: the content is not that of so many values.
        zstandard.ZstdError: the frame is damaged.
    """
    ahead = kept * (width - 1)
    if width < 2 or ahead > len(content):
        raise ValueError(f"{len(content)} bytes for {kept} split values of {width} bytes")
    last = decompress(content[ahead:], kept)
    if len(last) != kept:
        raise ValueError(f"{len(last)} last bytes for {kept} values")
    values = np.empty((kept, width), np.uint8)
    values[:, :-1] = np.frombuffer(content[:ahead], np.uint8).reshape(kept, width - 1)
    values[:, -1] = np.frombuffer(last, np.uint8)
    return values
