"""How much a sparse file may grow when it is read: a bound that holds before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from .table import Row, Rows, Sparse

FREE, TIMES = 1 << 28, 1024  # bytes that any file may unpack to, and more for each of its own


def assert_within(shapes: Mapping[str, Sequence[int]], rows: Rows, size: int) -> None:
    """Refuse tensors that take more than FREE + TIMES · ``size`` bytes of memory; ``shapes`` are those of the entries.

    Raises:
        ValueError: they take more.
    """
    unpacked = sum(_bytes(row, shapes.get(name, ())) for name, row in rows.items())
    if unpacked > FREE + TIMES * size:
        raise ValueError(f"{size} bytes that unpack to {unpacked}, at most {FREE} + {TIMES} times the file are allowed")


def _bytes(row: Row, shape: Sequence[int]) -> int:
    dtypes, shape = ((row.dtype, row.stored), row.shape) if isinstance(row, Sparse) else ((row.dtype,), shape)
    return math.prod(shape) * max(getattr(torch, dtype).itemsize for dtype in dtypes)
