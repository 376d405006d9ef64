"""Zstandard frames of a known size: written at the fastest level, read only within a given size."""

from __future__ import annotations

import zstandard

LEVEL = 1  # higher levels look for repetitions, which random bytes do not have
LARGEST_WINDOW = 1 << 23  # what every decoder has to support


def compress(content: bytes) -> bytes:
    """Return one frame that states the size of its content."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(content)


def decompress(frame: bytes | memoryview, most: int) -> bytes:
    """Return the content of one frame, which may have ``most`` bytes.

    Raises:
        ValueError: the frame states no size, or a larger one or a larger window; nothing was allocated.
        zstandard.ZstdError: it is damaged, or something follows it.
    """
    stated = zstandard.get_frame_parameters(frame)
    if stated.content_size > most or stated.window_size > LARGEST_WINDOW:
        raise ValueError(f"a zstd frame of {stated.content_size} bytes, window {stated.window_size}; at most {most}")
    return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
