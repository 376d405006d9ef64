"""The fixed images that pruning uses: balanced over the classes, or chosen at random if they have masks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data.dataset import Images, MaskFiles, Split
from transfer.data.image_batches import Batches, Decoder
from transfer.data.mask_batches import MaskDecoder, check_crop
from transfer.data.preprocess import Preprocess
from transfer.data.sampler import Order, generator, part

COUNT, BATCH = 212, 4  # 53 batches of 4, as in PX's published code (Iurada 2024)


class PruningSet(Batches):
    """Batches that are the same in every iteration.

    ``indices``: int64 (K · per_class,), the images' indices in the split. ``digest``: 16 hexadecimal digits that
    identify the images by their pixels and labels.
    """

    indices: Tensor
    digest: str


def pruning_set(split: Split, classes: Sequence[str], *, per_class: int = 10, seed: int = 0, **look: Any) -> PruningSet:
    """Choose ``per_class`` images of each class from the seed, alternating classes so that batches are about balanced.

    ``look``: see :func:`chosen`.

    Raises:
        InputError: a class has fewer images, or as :class:`Batches`.
    """
    return chosen(split, balanced(split.labels, classes, per_class=per_class, seed=seed), **look)


def chosen(
    split: Split,
    indices: Tensor,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: str = "bilinear",
    batch: int = 128,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world: int = 1,
) -> PruningSet:
    """Return the images at ``indices`` (int64, (n,)) with the test-time transform; files are decoded once, here.

    Raises:
        InputError: as :class:`Batches`.
    """
    found = split.subset(indices)
    if not isinstance(found, Images):
        decoder = Decoder(found, Preprocess(size, mean, std, interpolation), seed=0)
        found = Images(torch.stack([decoder[i, 0] for i in range(len(found))]), found.labels)
    batches = PruningSet(
        found, size=size, batch=batch, mean=mean, std=std, interpolation=interpolation,
        device=device, rank=rank, world=world,
    )  # fmt: skip
    batches.indices, batches.digest = indices, _digest(found.pixels, found.labels)
    return batches


def drawn(images: int, count: int, seed: int) -> Tensor:
    """Return int64 indices of ``count`` out of ``images`` images in a random order, all of them if there are fewer.

    Raises:
        InputError: ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"pruning set: count must be 1 image or more, got {count}")
    return torch.randperm(images, generator=generator("map pruning set", seed))[:count]


def balanced(labels: Tensor, classes: Sequence[str], *, per_class: int, seed: int) -> Tensor:
    """Return int64 indices of ``per_class`` samples of each of the K classes, one of each class in every K.

    Raises:
        InputError: ``per_class`` is below 1, or a class has fewer samples; names the class.
    """
    if per_class < 1:
        raise InputError(f"per_class must be 1 image or more, got {per_class}")
    counts = torch.bincount(labels, minlength=len(classes))
    short = (counts < per_class).nonzero()[:, 0].tolist()
    if short:
        name, has = classes[short[0]], int(counts[short[0]])
        more = f" (and {len(short) - 1} more classes have too few)" if len(short) > 1 else ""
        raise InputError(
            f"pruning set: class {name!r} has {has} images, wanted {per_class}{more}; "
            f"ask for at most {int(counts.min())} a class or add images"
        )
    mixed = torch.randperm(len(labels), generator=generator("pruning set", seed))
    grouped = mixed[labels[mixed].argsort(stable=True)]
    first = counts.cumsum(0) - counts
    return grouped[first + torch.arange(per_class)[:, None]].flatten()


class MaskPruningSet:
    """Batches that are the same in every iteration: (inputs float32 (n, 3, S, S), targets int64 (n, S, S)).

    Pixels and labels are held as uint8 on the device and normalised by ``look``. ``indices``: int64 (n,), the images'
    indices in the split. ``digest``: 16 hexadecimal digits that identify the images by their pixels and labels. Each
    process yields its part of each global batch, as in :class:`MaskBatches`.
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


def mask_pruning_set(
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
) -> MaskPruningSet:
    """Choose ``count`` images from the seed in a random order, all of them if the split has fewer.

    The shorter side is resized to ``crop`` and centre-cropped (protocol "center" of ``MaskBatches``); files are decoded
    once, here.

    Raises:
        InputError: ``count`` or ``batch`` is below 1, or as :class:`MaskBatches`.
    """
    check_crop(crop, stride)
    if batch < 1:
        raise InputError(f"pruning set: batch must be 1 image or more, got {batch}")
    if len(split) == 0:
        raise InputError("the split has no images; give it at least one")
    look = Preprocess(crop, tuple(mean), tuple(std), interpolation)
    indices = drawn(len(split), count, seed)
    decoder = MaskDecoder(
        split, crop=crop, interpolation=interpolation, augment=None, protocol="center", stride=stride, seed=seed
    )
    pixels = torch.empty(len(indices), 3, crop, crop, dtype=torch.uint8)
    labels = torch.empty(len(indices), crop, crop, dtype=torch.uint8)
    for i, index in enumerate(indices.tolist()):
        pixels[i], labels[i] = decoder[index, 0]
    return MaskPruningSet(pixels, labels, indices, look, batch=batch, device=device, rank=rank, world=world)


def _digest(*tensors: Tensor) -> str:
    content = hashlib.sha256(repr(tuple(tensors[0].shape)).encode())
    for tensor in tensors:
        content.update(tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
