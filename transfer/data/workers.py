"""The workers that decode files for a walk: how they are fed, how their errors come back, which signals end them."""

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


def decoded(
    decoder: Dataset[Any], batches: Sequence[Tensor], *, epoch: int, workers: int, device: torch.device
) -> Iterator[Any]:
    """Yield what the decoder makes of each batch of indices, asked for as (index, epoch).

    ``workers`` decide nothing but the speed, so more than there are cores count as that many: torch warns of them.
    A decoder returns an InputError as a value, since raised in a worker it would gain a traceback; it is raised here.
    The loader is made for one walk, with its own generator: by default it draws from the global one.
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
    """Return how many processor cores this process may use: a cluster or container may grant it a few of many."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def outlast_signals(worker: int) -> None:
    """Let a worker end when its parent says so, and not by the signals that a terminal or cluster sends to all.

    The parent may want to finish its step on SIGTERM or Ctrl-C, for which it needs its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere Python cannot see who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by_parent, args=(os.getppid(),), daemon=True).start()


def _end_by_parent(parent: int) -> None:
    while sys.platform == "linux" and signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def _as_is(batch: Any) -> Any:
    return batch
