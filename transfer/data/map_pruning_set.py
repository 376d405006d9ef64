"""The fixed images that pruning sees when the labels are maps: an image has no one class, so none are balanced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data.map_batches import check_crop
from transfer.data.map_decoder import MapDecoder
from transfer.data.maps import MaskFiles
from transfer.data.order import Order, generator, part
from transfer.data.preprocess import Preprocess

COUNT, BATCH = 212, 4  # 53 batches of 4: what PX's published code takes (Iurada 2024)


class MapPruningSet:
    """Batches that are the same on each walk: (inputs float32 (n, 3, S, S), targets int64 (n, S, S)).

    Pixels and labels are held as uint8 on the device; ``look`` normalises them. ``indices``: int64 (n,),
    where the images stand in the split. ``digest``: 16 hexadecimal digits that name them by their pixels and
    labels. Each process yields its part of each global batch, as :class:`MapBatches` does.
    """

    def __init__(
        self, pixels: Tensor, labels: Tensor, indices: Tensor, look: Preprocess, *, batch: int,
        device: torch.device | str, rank: int, world: int,
    ) -> None:  # fmt: skip
        self.indices, self.digest = indices, _digest(pixels, labels)
        self._pixels, self._labels = pixels.to(device), labels.to(device)
        self._look, self._rank, self._world = look, rank, world
        self._order = Order(len(indices), batch, shuffle=False, drop_last=False, seed=0)

    def __len__(self) -> int:
        """The number of global batches."""
        return len(self._order)

    @property
    def samples(self) -> int:
        """The number of images over all ranks."""
        return self._order.samples

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in self._order.batches(0):
            first, mine = int(rows[0]), part(len(rows), self._rank, self._world)
            here = slice(first + mine.start, first + mine.stop)
            yield self._look.normalise(self._pixels[here]), self._labels[here].long()


def map_pruning_set(
    split: MaskFiles,
    *,
    count: int = COUNT,
    crop: int,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: str = "bilinear",
    batch: int = BATCH,
    stride: int = 16,
    seed: int = 0,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world: int = 1,
) -> MapPruningSet:
    """Choose ``count`` images from the seed, all of them where the split has fewer, in a random order.

    The shorter side is resized to ``crop`` and the centre cut out (``MapBatches``' protocol "center"); files
    are decoded once, here. Raises InputError for ``count`` or ``batch`` below 1, and as :class:`MapBatches`.
    """
    check_crop(crop, stride)
    for name, value in (("count", count), ("batch", batch)):
        if value < 1:
            raise InputError(f"pruning set: {name} must be 1 image or more, got {value}")
    if len(split) == 0:
        raise InputError("the split has no images; give it at least one")
    look = Preprocess(crop, tuple(mean), tuple(std), interpolation)
    indices = torch.randperm(len(split), generator=generator("map pruning set", seed))[:count]
    decoder = MapDecoder(
        split, crop=crop, interpolation=interpolation, augment=None, protocol="center", stride=stride, seed=seed
    )
    pixels = torch.empty(len(indices), 3, crop, crop, dtype=torch.uint8)
    labels = torch.empty(len(indices), crop, crop, dtype=torch.uint8)
    for i, index in enumerate(indices.tolist()):
        pixels[i], labels[i] = decoder[index, 0]
    return MapPruningSet(pixels, labels, indices, look, batch=batch, device=device, rank=rank, world=world)


def _digest(*tensors: Tensor) -> str:
    content = hashlib.sha256(repr(tuple(tensors[0].shape)).encode())
    for tensor in tensors:
        content.update(tensor.numpy().tobytes())
    return content.hexdigest()[:16]
