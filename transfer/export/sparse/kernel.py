"""The product of a sparse matrix with shifted views of an image, compiled for this processor by numba."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from checkpoints.errors import InputError


@functools.cache
def products() -> Callable[..., None]:
    """Return :func:`_products` as machine code; the first call on a machine takes some seconds.

    Raises:
        InputError: numba is not installed.
    """
    try:
        import numba
    except ImportError:
        raise InputError("sparse layers need numba; pip install 'px-transfer[sparse]', or pip install numba") from None
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return numba.njit(_products, cache=True, **options)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder that could hold the machine code
        return numba.njit(_products, **options)  # type: ignore[no-any-return]


def _products(x, starts, places, values, bias, other, step, out, first, last, width, pitch, tile, low, high):  # type: ignore[no-untyped-def]
    """Write rows ``first`` to ``last`` of the result: sums of weighted, shifted pieces of the image.

    A row is computed a tile of positions at a time, so that its sums stay in the nearest cache. Positions come in lines
    of ``pitch``, of which the first ``width`` are written; the others are sums across the image's border.

    Args:
        x: (N, L) float32, all planes of an image in one line.
        starts: (O + 1,) int64, where each row's weights begin.
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
        line = x[image]
        for begin in range(0, total, tile):
            size = min(tile, total - begin)
            sums = room[:size]
            for row in range(first, last):
                sums[:] = bias[row]
                at, end = starts[row], starts[row + 1]
                while at + 4 <= end:
                    a, b, c, d = values[at], values[at + 1], values[at + 2], values[at + 3]
                    p = line[places[at] + begin : places[at] + begin + size]
                    q = line[places[at + 1] + begin : places[at + 1] + begin + size]
                    r = line[places[at + 2] + begin : places[at + 2] + begin + size]
                    s = line[places[at + 3] + begin : places[at + 3] + begin + size]
                    for i in range(size):
                        sums[i] += a * p[i] + b * q[i] + c * r[i] + d * s[i]
                    at += 4
                while at < end:
                    a = values[at]
                    p = line[places[at] + begin : places[at] + begin + size]
                    for i in range(size):
                        sums[i] += a * p[i]
                    at += 1
                to = begin // pitch * width
                for start in range(0, size, pitch):
                    source = sums[start : start + width]
                    target = out[image, row, to : to + width]
                    add = other[image * step, row * step, to : to + width]
                    for i in range(width):
                        value = source[i] + add[i]
                        value = low if value < low else value
                        target[i] = high if value > high else value
                    to += width
