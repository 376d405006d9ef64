"""Where the kept values of a tensor stand: a bit per weight, or the gaps between them, entropy-coded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .zstd import compress, decompress

Places = NDArray[np.int64]  # rising, from 0
SKIP = 255  # a byte of the gaps: so many weights are 0 and no kept one follows


def to_bits(places: Places, total: int) -> bytes:
    """Return one bit per weight, 1 = kept; the first weight is the highest bit of the first byte."""
    kept = np.zeros(total, np.bool_)
    kept[places] = True
    return np.packbits(kept).tobytes()


def from_bits(content: bytes | memoryview, kept: int, total: int) -> Places:
    """Return the places of ``to_bits``.

    Raises:
        ValueError: there are not ``kept`` places below ``total``.
    """
    if len(content) != (total + 7) // 8:
        raise ValueError(f"{len(content)} bytes of bits for {total} weights")
    places = np.flatnonzero(np.unpackbits(np.frombuffer(content, np.uint8)).view(np.bool_))
    return _checked(places, kept, total)


def to_gaps(places: Places, total: int) -> bytes:
    """Return a zstd frame with a byte per kept weight, the number of zeros before it, after ``SKIP`` for each 255."""
    gaps = np.diff(places, prepend=-1) - 1
    skips = gaps // SKIP
    content = np.full(len(gaps) + int(skips.sum()), SKIP, np.uint8)
    content[np.arange(len(gaps)) + np.cumsum(skips)] = gaps % SKIP
    return compress(content.tobytes())


def from_gaps(content: bytes | memoryview, kept: int, total: int) -> Places:
    """Return the places of ``to_gaps``.

    Raises:
        ValueError: there are not ``kept`` places below ``total``.
        zstandard.ZstdError: the frame is damaged.
    """
    gaps = np.frombuffer(decompress(content, kept + total // SKIP), np.uint8)
    places = np.cumsum(gaps, dtype=np.int64)
    ends = gaps != SKIP
    if not ends.all():
        places = places[ends]
    places += np.arange(len(places))
    return _checked(places, kept, total)


def _checked(places: Places, kept: int, total: int) -> Places:
    if len(places) != kept or (kept and places[-1] >= total):
        raise ValueError(f"{len(places)} places for {kept} values, the last of {total} at most")
    return places


READ = {"bits": from_bits, "gaps": from_gaps}
WRITE = {"bits": to_bits, "gaps": to_gaps}
