"""Loops over the weights that are left, compiled for this processor by numba."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from checkpoints.errors import InputError

PACK = 4
"""Weights that are multiplied in one walk over a tile; each row's are brought to a multiple of it."""


@functools.cache
def products() -> Callable[..., None]:
    """Return :func:`_products` as machine code.

    Raises:
        InputError: numba is not installed, or cannot be loaded.
    """
    return _compiled(_products)


@functools.cache
def dealing() -> Callable[..., None]:
    """Return :func:`_deal` as machine code; raises as :func:`products`."""
    return _compiled(_deal)


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    try:
        import numba
    except ImportError as error:
        if find_spec("numba") is not None:  # such as one that does not know this NumPy yet
            raise InputError(f"sparse layers need numba, which is installed but does not load: {error}") from None
        raise InputError("sparse layers need numba; pip install 'px-transfer[sparse]', or pip install numba") from None
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # no folder that could hold the machine code
        return numba.njit(function, **options)


def _products(x, starts, places, values, bias, other, step, out, first, last, width, pitch, tile, low, high):
    """Write rows ``first`` to ``last`` of the result: sums of weighted, shifted pieces of the image.

    A row is computed a tile of positions at a time, so that its sums stay in the nearest cache. Positions come in lines
    of ``pitch``, of which the first ``width`` are written; the others are sums across the image's border.

    Args:
        x: (N, L) float32, all planes of an image in one line.
        starts: (O + 1,) int64, where each row's weights begin; a row has 0, 4, 8 … weights.
        places: (weights,) int64, where in ``x`` the piece begins that a weight multiplies.
        values: (weights,) float32.
        bias: (O,) float32.
        other: float32, what is added to the result: of its shape, or (1, 1, positions) zeros.
        step: 1 if ``other`` has the result's shape, else 0.
        out: (N, O, lines · width) float32, the result.
        first: number of the first row.
        last: number of the row after the last.
        width: positions that are written of a line.
        pitch: positions of a line.
        tile: positions computed at a time, a multiple of ``pitch``.
        low: lower bound of the result.
        high: upper bound of the result.
    """
    room = np.empty(tile, np.float32)
    total = out.shape[2] // width * pitch - (pitch - width)
    for image in range(x.shape[0]):
        for begin in range(0, total, tile):
            size = min(tile, total - begin)
            line, sums = x[image, begin:], room[:size]
            for row in range(first, last):
                if starts[row] == starts[row + 1]:
                    sums[:] = bias[row]
                for at in range(starts[row], starts[row + 1], 4):
                    a, b, c, d = values[at], values[at + 1], values[at + 2], values[at + 3]
                    p, q = line[places[at] : places[at] + size], line[places[at + 1] : places[at + 1] + size]
                    r, s = line[places[at + 2] : places[at + 2] + size], line[places[at + 3] : places[at + 3] + size]
                    if at == starts[row]:
                        for i in range(size):
                            sums[i] = bias[row] + a * p[i] + b * q[i] + c * r[i] + d * s[i]
                    else:
                        for i in range(size):
                            sums[i] += a * p[i] + b * q[i] + c * r[i] + d * s[i]
                to = begin // pitch * width
                for start in range(0, size, pitch):
                    source, target = sums[start : start + width], out[image, row, to : to + width]
                    added = other[image * step, row * step, to : to + width]
                    for i in range(width):
                        value = source[i] + added[i]
                        value = low if value < low else value
                        target[i] = high if value > high else value
                    to += width


def _deal(x, top, left, planes):
    """Deal padded images to planes: position (y, x) goes to plane (y mod sy, x mod sx), at (y // sy, x // sx).

    Args:
        x: (N, C, height, width) float32.
        top: lines of zeros above an image.
        left: zeros before each line.
        planes: (N, C, sy, sx, height, width) float32, written.
    """
    lines, columns = planes.shape[2], planes.shape[3]
    for image in range(x.shape[0]):
        for channel in range(x.shape[1]):
            for number in range(lines * columns):
                offset = number % columns - left
                begin = min(-(offset // columns), planes.shape[5])
                end = max(begin, min(planes.shape[5], (x.shape[3] - offset + columns - 1) // columns))
                for row in range(planes.shape[4]):
                    y = row * lines + number // columns - top
                    inside = 0 <= y < x.shape[2]
                    target = planes[image, channel, number // columns, number % columns, row]
                    source = x[image, channel, y if inside else 0]
                    for i in range(begin if inside else len(target)):
                        target[i] = 0
                    for i in range(begin, end if inside else begin):
                        target[i] = source[i * columns + offset]
                    for i in range(end, len(target) if inside else 0):
                        target[i] = 0
