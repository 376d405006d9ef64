"""Normalised batches of images and masks, identical for any number of processes and workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from checkpoints.errors import InputError, near
from transfer.data.augment import MaskAugment
from transfer.data.dataset import IGNORE, MaskFiles
from transfer.data.geometry import Pair, centre_crop, random_crop
from transfer.data.image_io import Size, read_pair
from transfer.data.preprocess import Preprocess
from transfer.data.sampler import Order, Walk, generator, part
from transfer.data.workers import Key, decoded

PROTOCOLS = ("whole", "center")
Packed = tuple[Tensor, Tensor, list[Size]]


class MaskBatches(Walk):
    """Iterates over a split; yields (inputs float32 (n, 3, H, W), targets int64 (n, H, W)) on ``device``.

    Targets are class indices, and 255 for ignored pixels: VOC's borders and all padding. Padding of inputs is 0, the
    colour ``mean``. ``crop`` must be a multiple of ``stride``, the model's output stride.

    With ``augment``, H = W = ``crop``: images are randomly scaled, cropped and flipped, and padded at the right and
    bottom where the scaled image is smaller. Without it, ``protocol`` sets what is evaluated: "whole", each image at
    its own size, padded at the right and bottom to a multiple of ``stride``, one image per process and batch whatever
    ``batch`` is; or "center", as in the papers: the shorter side resized to ``crop`` and centre-cropped, H = W =
    ``crop``. Images are resampled with antialiasing, masks by nearest neighbour.

    ``batch`` is the size of a *global* batch, of which process ``rank`` of ``world`` yields its contiguous part (parts
    differ by at most one sample and may be empty). Order and augmentation depend only on ``seed`` and the epoch: a
    second iteration yields the same tensors, and the concatenated parts of all ranks are the batch of a single process
    (whole images: its successive batches). The global random state is neither read nor changed. ``mean`` and ``std``
    are for pixels from 0 to 1. ``drop_last`` drops a smaller last batch, unless it is the only one. ``workers``
    processes decode files.

    Raises:
        InputError: ``crop``, ``stride`` or ``batch`` is below 1, ``crop`` is not a multiple of ``stride``, the protocol
            or interpolation is unknown, or the split is empty; and, while iterating, a file is unusable.
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
        augment: MaskAugment | None = None,
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
        self._decoder = MaskDecoder(
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
        """Normalise on the device and set padding to exactly 0, which no 8-bit colour becomes."""
        inputs = self._look.normalise(pixels.to(self._device, non_blocking=True))
        for image, (height, width) in zip(inputs, sizes, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return inputs, targets.to(self._device, non_blocking=True).long()


def check_crop(crop: int, stride: int) -> None:
    """Check that ``crop`` is a multiple of ``stride``, both in pixels.

    Raises:
        InputError: it is not, or one of them is below 1.
    """
    if stride < 1:
        raise InputError(f"stride must be 1 pixel or more, got {stride}")
    if crop < 1:
        raise InputError(f"crop must be {stride} pixels or more, got {crop}")
    if crop % stride:
        allowed = " or ".join(str(side) for side in (crop - crop % stride, crop - crop % stride + stride) if side)
        raise InputError(f"crop {crop} is no multiple of the output stride {stride}; use {allowed}")


class MaskDecoder(TorchDataset[Pair]):
    """Reads images and masks and applies the geometry of one protocol."""

    def __init__(
        self,
        split: MaskFiles,
        *,
        crop: int,
        interpolation: str,
        augment: MaskAugment | None,
        protocol: str,
        stride: int,
        seed: int,
    ) -> None:
        self.split, self.crop, self.interpolation, self.seed = split, crop, interpolation, seed
        self.augment, self.stride = augment, stride
        self.whole = augment is None and protocol == "whole"

    def __getitem__(self, key: Key) -> Pair:
        """Return one image, uint8 (3, h, w), and its labels, uint8 (h, w), not yet padded.

        Raises:
            InputError: a file is unusable.
        """
        index, epoch = key
        pair = read_pair(self.split.images[index], self.split.masks[index], self.split.classes)
        if self.augment is not None:
            source = generator("map augment", self.seed, epoch, index)
            return random_crop(*pair, self.augment, self.crop, self.interpolation, source)
        return pair if self.whole else centre_crop(*pair, self.crop, self.interpolation)

    def __getitems__(self, keys: list[Key]) -> Packed | InputError:
        """Return a batch, or an error, because raising it in a worker would add a traceback to its message.

        The batch is pixels uint8 (n, 3, H, W), labels uint8 (n, H, W), 255 in the padding, and the height and width of
        each image, which lies in the upper left corner.
        """
        try:
            return pack([self[key] for key in keys], self._canvas)
        except InputError as error:
            return error

    def _canvas(self, pairs: list[Pair]) -> Size:
        if not self.whole:
            return self.crop, self.crop
        sides = pairs[0][1].shape if pairs else (1, 1)
        height, width = (-(-side // self.stride) * self.stride for side in sides)
        return height, width


def pack(pairs: list[Pair], canvas: Callable[[list[Pair]], Size]) -> Packed:
    """Copy images and labels into the upper left corners of one batch; padding of labels is 255."""
    height, width = canvas(pairs)
    pixels = torch.zeros(len(pairs), 3, height, width, dtype=torch.uint8)
    targets = torch.full((len(pairs), height, width), IGNORE, dtype=torch.uint8)
    sizes = []
    for i, (image, mask) in enumerate(pairs):
        high, wide = mask.shape
        pixels[i, :, :high, :wide], targets[i, :high, :wide] = image, mask
        sizes.append((high, wide))
    return pixels, targets, sizes
