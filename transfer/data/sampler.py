"""The order of samples in an epoch, the rows of a batch for each process, and the batch at which an epoch starts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.seeds import seed_of


def generator(*key: int | str) -> torch.Generator:
    """Return a new CPU generator for ``key``: equal keys draw the same numbers, unequal keys independent ones."""
    return torch.Generator().manual_seed(seed_of(*key))


def part(count: int, rank: int, world: int) -> slice:
    """Return the contiguous rows of a batch of ``count`` that process ``rank`` of ``world`` takes."""
    return slice(rank * count // world, (rank + 1) * count // world)


@dataclass(frozen=True)
class Order:
    """How ``count`` samples are cut into global batches of ``batch``, whatever the number of processes."""

    count: int
    batch: int
    shuffle: bool
    drop_last: bool
    seed: int

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch)
        return max(1, full) if self.drop_last else full + (rest > 0)

    @property
    def samples(self) -> int:
        """The number of samples in one epoch; a split smaller than a batch is never dropped."""
        return min(self.count, len(self) * self.batch)

    def batches(self, epoch: int) -> tuple[Tensor, ...]:
        """Return the indices (int64, (n,)) of each global batch of an epoch."""
        if self.shuffle:
            order = torch.randperm(self.count, generator=generator("order", self.seed, epoch))
        else:
            order = torch.arange(self.count)
        return order[: self.samples].split(self.batch)


class Walk:
    """Iteration over a split in global batches, of which process ``rank`` of ``world`` takes its part.

    Raises:
        InputError: ``batch`` is below 1, ``workers`` is below 0, or the split is empty.
    """

    def __init__(self, order: Order, *, batch: int, workers: int, rank: int, world: int) -> None:
        if batch < 1:
            raise InputError(f"batch must be 1 sample or more, got {batch}")
        if workers < 0:
            raise InputError(f"workers must be 0 (decode in this process) or more, got {workers}")
        if not 0 <= rank < world:
            raise ValueError(f"rank must lie in [0, world), got rank {rank} of world {world}")
        if order.count == 0:
            raise InputError("the split has no images; give it at least one")
        self._order, self._rank, self._world = order, rank, world
        self._epoch = self._start = 0

    def __len__(self) -> int:
        """The number of global batches in a whole epoch, the same on every rank."""
        return len(self._order)

    @property
    def samples(self) -> int:
        """The number of samples that a whole epoch yields over all ranks."""
        return self._order.samples

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch, which decides order and augmentation, and the global batch at which iteration starts.

        Batches before ``start``, in [0, len], are not decoded; the others are the same as in a whole epoch.
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"start must lie in [0, {len(self)}], got {start}")
        self._epoch, self._start = epoch, start
