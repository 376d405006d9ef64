"""The colours of Pascal VOC's masks."""

from __future__ import annotations

Palette = tuple[tuple[int, int, int], ...]


def voc_palette(count: int = 256) -> Palette:
    """Return the red, green and blue, 0 to 255, of the labels 0 to ``count`` - 1 (256 at most).

    VOC spreads the bits of a label over the channels: bits 0, 1, 2 are the highest bits of red, green and
    blue, bits 3, 4, 5 the next ones, 6 and 7 the third of red and green. So 0 is black and 255 a pale cream.
    """
    return tuple(_colour(label) for label in range(count))


def _colour(label: int) -> tuple[int, int, int]:
    red, green, blue = (
        sum((label >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue
