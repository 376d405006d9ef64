"""DataLoader workers that decode files: input, errors and signals."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from checkpoints.errors import InputError

Key = tuple[int, int]  # sample index and epoch, which with the seed determine its random parameters


def decoded(
    decoder: Dataset[Any], batches: Sequence[Tensor], *, epoch: int, workers: int, device: torch.device
) -> Iterator[Any]:
    """Yield the decoder's result for each batch of indices, requested as (index, epoch).

    ``workers`` affects nothing but speed and is capped at the number of cores, above which torch warns. A decoder
    returns an InputError as a value, since raising in a worker would add a traceback; it is raised here. The loader
    serves one pass and has its own generator: by default it draws from the global one.

    Raises:
        InputError: the decoder returned it.
    """
    loader = DataLoader(
        decoder,
        batch_sampler=([(index, epoch) for index in indices.tolist()] for indices in batches),
        collate_fn=_as_is,
        num_workers=min(workers, cores()),
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
        worker_init_fn=outlast_signals,
    )
    for made in loader:
        if isinstance(made, InputError):
            raise made
        yield made


def cores() -> int:
    """Return how many CPU cores this process may use: a cluster or container may grant only some of them."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def outlast_signals(worker: int) -> None:
    """Make a worker end when its parent says so, and not on signals that a terminal or cluster sends to all processes.

    The parent may need its workers to finish its step on SIGTERM or Ctrl-C.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere Python cannot tell who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by_parent, args=(os.getppid(),), daemon=True).start()


def _end_by_parent(parent: int) -> None:
    while sys.platform == "linux" and signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def _as_is(batch: Any) -> Any:
    return batch
