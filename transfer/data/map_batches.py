"""Normalised batches of images and label maps, the same for any number of processes and workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from checkpoints.errors import InputError, near
from transfer.data.decoding import decoded
from transfer.data.map_augment import MapAugment
from transfer.data.map_decoder import MapDecoder
from transfer.data.maps import MaskFiles
from transfer.data.order import Order, part
from transfer.data.preprocess import Preprocess
from transfer.data.walk import Walk

PROTOCOLS = ("whole", "center")


class MapBatches(Walk):
    """Walks over a split; each yields (inputs float32 (n, 3, H, W), targets int64 (n, H, W)) on ``device``.

    Targets are class indices, and 255 where no label counts: VOC's borders and all padding. Padding of inputs
    is 0, the colour ``mean``. ``crop`` must be a multiple of ``stride``, the model's output stride.

    With ``augment``, H = W = ``crop``: scaled by a random factor, cropped at random, flipped, and padded at
    the right and bottom where the scaled image is smaller. Without it, ``protocol`` says what is evaluated:
    "whole", each image at its own size, padded at the right and bottom to a multiple of ``stride``, one image
    a process and batch whatever ``batch`` says; or "center", the papers': the shorter side resized to
    ``crop``, the centre cut out, H = W = ``crop``. Images are resampled with antialiasing, masks never mixed.

    ``batch`` counts the samples of a *global* batch, of which process ``rank`` of ``world`` yields its
    contiguous part (parts differ by at most one sample and may be empty). Order and augmentation follow from
    ``seed`` and the epoch alone: a second walk yields the same tensors, and the parts of all ranks joined are
    the batch of one (whole images: follow one another). The global random state is neither read nor changed.
    ``mean`` and ``std`` are for pixels from 0 to 1. ``drop_last`` drops a smaller last batch, unless it is the
    only one. ``workers`` decode files.

    Raises InputError: ``crop``, ``stride`` or ``batch`` below 1, a crop that the stride does not divide, an
    unknown protocol or interpolation, an empty split; and, while walking, a file that cannot be used.
    """

    def __init__(
        self,
        split: MaskFiles,
        *,
        crop: int,
        batch: int,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bilinear",
        augment: MapAugment | None = None,
        protocol: str = "whole",
        stride: int = 16,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        channels_last: bool = False,
    ) -> None:
        check_crop(crop, stride)
        if protocol not in PROTOCOLS:
            raise InputError(f"protocol {protocol!r} is unknown; {near(protocol, [*PROTOCOLS])}")
        self._look = Preprocess(crop, tuple(mean), tuple(std), interpolation, channels_last=channels_last)
        self._decoder = MapDecoder(
            split, crop=crop, interpolation=interpolation, augment=augment, protocol=protocol, stride=stride, seed=seed
        )
        order = Order(len(split), world if self._decoder.whole else batch, shuffle, drop_last, seed)
        super().__init__(order, batch=batch, workers=workers, rank=rank, world=world)
        self._device, self._workers = torch.device(device), workers

    @property
    def split_digest(self) -> str:
        """Digest of the whole split."""
        return self._decoder.split.digest

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._walk(self._epoch, self._start)

    def _walk(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        batches = self._order.batches(epoch)[start:]
        mine = [indices[part(len(indices), self._rank, self._world)] for indices in batches]
        for packed in decoded(self._decoder, mine, epoch=epoch, workers=self._workers, device=self._device):
            yield self._ready(*packed)

    def _ready(self, pixels: Tensor, targets: Tensor, sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Normalise on the device; padding becomes exactly 0, which no 8-bit colour does."""
        inputs = self._look.normalise(pixels.to(self._device, non_blocking=True))
        for image, (height, width) in zip(inputs, sizes, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return inputs, targets.to(self._device, non_blocking=True).long()


def check_crop(crop: int, stride: int) -> None:
    """Raise InputError unless ``crop`` is a multiple of ``stride``, both in pixels."""
    if stride < 1:
        raise InputError(f"stride must be 1 pixel or more, got {stride}")
    if crop < 1:
        raise InputError(f"crop must be {stride} pixels or more, got {crop}")
    if crop % stride:
        allowed = " or ".join(str(side) for side in (crop - crop % stride, crop - crop % stride + stride) if side)
        raise InputError(f"crop {crop} is no multiple of the output stride {stride}; use {allowed}")
