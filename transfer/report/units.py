"""Numbers as people read them."""

from __future__ import annotations

from transfer.log import duration

UNKNOWN = "–"


def file_size(size: float | None) -> str:
    """Return bytes with three digits and a decimal unit."""
    return UNKNOWN if size is None else f"{_short(size)}B"


def count(number: float | None) -> str:
    """Return a count with three digits and a decimal prefix."""
    return UNKNOWN if number is None else _short(number).rstrip()


def seconds(value: float | None) -> str:
    """Return seconds: below ten with two digits."""
    if value is None:
        return UNKNOWN
    return f"{value:.2g} s" if value < 10 else duration(value)


def _short(number: float) -> str:
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            return f"{number / size:.3g} {prefix}"
    return f"{number:.3g} "
