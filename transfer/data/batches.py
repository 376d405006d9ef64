"""Normalised batches of a split, the same for any number of processes and workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from transfer.data.augment import Augment
from transfer.data.dataset import Images, Split
from transfer.data.from_files import FromFiles
from transfer.data.in_memory import InMemory
from transfer.data.order import Order
from transfer.data.preprocess import Preprocess
from transfer.data.walk import Walk


class Batches(Walk):
    """Walks over a split; each yields (inputs float32 (n, 3, size, size) on ``device``, targets int64 (n,)).

    ``batch`` counts the samples of a *global* batch, of which process ``rank`` of ``world`` yields its
    contiguous part (parts differ by at most one sample and may be empty when a last batch is smaller than
    ``world``). Order and augmentation follow from ``seed`` and the epoch alone: a second walk yields the same
    tensors, and the parts of all ranks joined are the batch of one. The global random state is neither read
    nor changed.

    Without ``augment``: images in memory are resized to ``size`` × ``size`` if they differ; files have their
    shorter side resized to ``size`` · 256 / 224 and the centre cut out. With it: pad-crop at native size,
    flip, then the same resizing; or a random resized crop, flip. Resampling is antialiased. ``mean`` and
    ``std`` are for pixels from 0 to 1. ``drop_last`` drops a smaller last batch, unless it is the only one.
    ``workers`` decode files.

    Raises InputError: ``size`` or ``batch`` below 1, an unknown interpolation, an empty split; and, while
    walking, a file that is not a readable image.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: int,
        batch: int,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bilinear",
        augment: Augment | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        channels_last: bool = False,
    ) -> None:
        order = Order(len(split), batch, shuffle, drop_last, seed)
        super().__init__(order, batch=batch, workers=workers, rank=rank, world=world)
        look = Preprocess(size, tuple(mean), tuple(std), interpolation, augment, channels_last)
        device = torch.device(device)
        self._source: InMemory | FromFiles
        if isinstance(split, Images):
            self._source = InMemory(split, look, seed=seed, device=device)
        else:
            self._source = FromFiles(split, look, seed=seed, device=device, workers=workers)
        self._split = split

    @property
    def split_digest(self) -> str:
        """Digest of the whole split."""
        return self._split.digest

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, start = self._epoch, self._start
        batches = self._order.batches(epoch)
        return self._source.walk(batches, epoch=epoch, start=start, rank=self._rank, world=self._world)
