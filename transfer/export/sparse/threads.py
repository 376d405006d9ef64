"""Rows of a product on as many threads as torch uses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="sparse")


if hasattr(os, "register_at_fork"):  # a forked process has none of the threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def together(work: Callable[[int, int], None], starts: Tensor) -> None:
    """Call ``work(first, last)`` on parts of the rows, at the same time.

    Args:
        work: computes rows ``first`` to ``last`` and leaves Python's lock to others meanwhile.
        starts: (rows + 1,), the number of weights before each row; the parts have about as many weights each.
    """
    edges = _edges(starts, torch.get_num_threads())
    waiting = [_pool().submit(work, *part) for part in edges[1:]]
    work(*edges[0])
    for each in waiting:
        each.result()


def _edges(starts: Tensor, parts: int) -> list[tuple[int, int]]:
    rows = len(starts) - 1
    if parts == 1:
        return [(0, rows)]
    cost = starts + torch.arange(rows + 1) * 2  # a row costs something without weights too
    cuts = torch.searchsorted(cost, cost[-1] * torch.arange(1, parts) // parts).tolist()
    edges = [0, *cuts, rows]
    return list(pairwise(edges))
