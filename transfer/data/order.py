"""In which order a split is walked, and which rows of each batch belong to which process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


def generator(*key: int | str) -> torch.Generator:
    """Return a CPU generator of its own for ``key``: equal keys draw alike, unequal ones independently."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def part(count: int, rank: int, world: int) -> slice:
    """Return the contiguous rows of a batch of ``count`` that process ``rank`` of ``world`` takes."""
    return slice(rank * count // world, (rank + 1) * count // world)


@dataclass(frozen=True)
class Order:
    """How ``count`` samples are cut into global batches of ``batch``; knows nothing of processes."""

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
        """The number of samples of one walk; a split smaller than a batch is never dropped."""
        return min(self.count, len(self) * self.batch)

    def batches(self, epoch: int) -> tuple[Tensor, ...]:
        """Return the indices (int64, (n,)) of each global batch of an epoch."""
        if self.shuffle:
            order = torch.randperm(self.count, generator=generator("order", self.seed, epoch))
        else:
            order = torch.arange(self.count)
        return order[: self.samples].split(self.batch)
