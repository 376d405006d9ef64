"""Normalised batches of a split, identical for any number of processes and workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from checkpoints.errors import InputError
from transfer.data import colours, geometry
from transfer.data.augment import Augment
from transfer.data.dataset import ImageFiles, Images, Split
from transfer.data.draws import draw
from transfer.data.image_io import decode
from transfer.data.preprocess import Preprocess
from transfer.data.sampler import Order, Walk, generator, part
from transfer.data.workers import Key, decoded


class Batches(Walk):
    """Iterates over a split; yields (inputs float32 (n, 3, size, size) on ``device``, targets int64 (n,)).

    ``batch`` is the size of a *global* batch, of which process ``rank`` of ``world`` yields its contiguous part (parts
    differ by at most one sample and may be empty when a last batch is smaller than ``world``). Order and augmentation
    depend only on ``seed`` and the epoch: a second iteration yields the same tensors, and the concatenated parts of all
    ranks are the batch of a single process. The global random state is neither read nor changed.

    Without ``augment``, images in memory are resized to ``size`` × ``size`` if they differ; files have their shorter
    side resized to ``size`` · 256 / 224 and are centre-cropped. With it: pad-crop at native size, flip, then the same
    resizing; or random resized crop, flip; last the colours. Resampling is antialiased. ``mean`` and ``std`` are for
    pixels from 0 to 1. ``drop_last`` drops a smaller last batch, unless it is the only one. ``workers`` processes
    decode files.

    Raises:
        InputError: ``size`` or ``batch`` is below 1, the interpolation is unknown, or the split is empty; and, while
            iterating, a file is not a readable image.
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


class InMemory:
    """Images on their device; batches are gathered, augmented and normalised in a few operations."""

    def __init__(self, images: Images, preprocess: Preprocess, *, seed: int, device: torch.device) -> None:
        self.pixels, self.labels = images.pixels.to(device), images.labels.to(device)
        self.preprocess, self.seed, self.device = preprocess, seed, device

    def walk(
        self, batches: Sequence[Tensor], *, epoch: int, start: int, rank: int, world: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's part of each global batch of indices, from batch ``start`` on."""
        for number, indices in enumerate(batches[start:], start):
            rows = part(len(indices), rank, world)
            mine = indices[rows].to(self.device)
            pixels = self._geometry(self.pixels[mine], len(indices), rows, epoch, number)
            pixels = _recoloured(pixels, self.preprocess.augment, len(indices), rows, (self.seed, epoch, number))
            yield self.preprocess.normalise(pixels), self.labels[mine]

    def _geometry(self, pixels: Tensor, count: int, rows: slice, epoch: int, number: int) -> Tensor:
        """Augment and resize ``rows`` of a global batch of ``count``, for all of which parameters are drawn."""
        look, augment = self.preprocess, self.preprocess.augment
        height, width = pixels.shape[2:]
        if augment is not None:
            source = generator("augment", self.seed, epoch, number)
            draws = draw(augment, count, height, width, source).rows(rows, self.device)
            if augment.resized_crop is not None:
                return geometry.resized_crop(pixels, look.size, look.interpolation, draws)
            if augment.pad_crop or augment.flip:
                pixels = geometry.pad_crop(pixels, augment.pad_crop, draws)
        if (height, width) != (look.size, look.size):
            return geometry.resize(pixels, look.size, look.interpolation)
        return pixels


class Decoder(TorchDataset[Tensor]):
    """Decodes files to uint8 pixels of the model's input size, in the workers."""

    def __init__(self, files: ImageFiles, preprocess: Preprocess, *, seed: int) -> None:
        self.paths, self.preprocess, self.seed = files.paths, preprocess, seed

    def __getitem__(self, key: Key) -> Tensor:
        """Return one image, uint8 (3, S, S).

        Raises:
            InputError: the file is not a readable image.
        """
        index, epoch = key
        image, augment = decode(self.paths[index], self.paths[index]), self.preprocess.augment
        if augment is not None:
            image = self._augment(image, augment, generator("augment", self.seed, epoch, index))
        if self._random_size:
            return transforms.pil_to_tensor(image)
        return resized(image, self.preprocess, centre_crop=True)

    def __getitems__(self, keys: list[Key]) -> Tensor | InputError:
        """Return a batch, uint8 (n, 3, S, S), or an error.

        The error is returned because raising it in a worker would add a traceback to its message.
        """
        size = self.preprocess.size
        try:
            return (
                torch.stack([self[key] for key in keys]) if keys else torch.empty(0, 3, size, size, dtype=torch.uint8)
            )
        except InputError as error:
            return error

    @property
    def _random_size(self) -> bool:
        return self.preprocess.augment is not None and self.preprocess.augment.resized_crop is not None

    def _augment(self, image: Image.Image, augment: Augment, source: torch.Generator) -> Image.Image:
        draws = draw(augment, 1, image.height, image.width, source)
        box = [int(side) for side in (draws.top, draws.left, draws.height, draws.width)]
        if self._random_size:
            size, mode = [self.preprocess.size] * 2, InterpolationMode(self.preprocess.interpolation)
            image = transforms.resized_crop(image, *box, size=size, interpolation=mode)
        elif augment.pad_crop:
            image = transforms.crop(transforms.pad(image, [augment.pad_crop]), *box)
        return transforms.horizontal_flip(image) if draws.flip else image


def resized(image: Image.Image, look: Preprocess, *, centre_crop: bool) -> Tensor:
    """Return an image with the test-time transform, uint8 (3, S, S).

    With ``centre_crop`` the shorter side is resized to 256/224 of S and the centre cropped; otherwise the image is
    resized to S × S.
    """
    size, mode = look.size, InterpolationMode(look.interpolation)
    if centre_crop:
        image = transforms.resize(image, [round(size * 256 / 224)], interpolation=mode)
        image = transforms.center_crop(image, [size])
    else:
        image = transforms.resize(image, [size, size], interpolation=mode)
    return transforms.pil_to_tensor(image)


class FromFiles:
    """Files of a split, decoded by workers."""

    def __init__(
        self, files: ImageFiles, preprocess: Preprocess, *, seed: int, device: torch.device, workers: int
    ) -> None:
        self.decoder, self.labels = Decoder(files, preprocess, seed=seed), files.labels
        self.preprocess, self.device, self.workers = preprocess, device, workers

    def walk(
        self, batches: Sequence[Tensor], *, epoch: int, start: int, rank: int, world: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's part of each global batch of indices, from batch ``start`` on.

        Raises:
            InputError: a file is not a readable image.
        """
        todo = batches[start:]
        slices = [part(len(indices), rank, world) for indices in todo]
        mine = [indices[rows] for indices, rows in zip(todo, slices, strict=True)]
        pictures = decoded(self.decoder, mine, epoch=epoch, workers=self.workers, device=self.device)
        for number, (whole, rows, indices, pixels) in enumerate(zip(todo, slices, mine, pictures, strict=True), start):
            pixels, key = pixels.to(self.device, non_blocking=True), (self.decoder.seed, epoch, number)
            pixels = _recoloured(pixels, self.preprocess.augment, len(whole), rows, key)
            yield self.preprocess.normalise(pixels), self.labels[indices].to(self.device)


def _recoloured(pixels: Tensor, augment: Augment | None, count: int, rows: slice, key: tuple[int, int, int]) -> Tensor:
    """Change the colours of ``rows`` of a global batch of ``count``, drawn for all of it by (seed, epoch, batch)."""
    if augment is None or not (augment.jitter or augment.grayscale):
        return pixels
    return colours.recolour(pixels, colours.draw(augment, count, generator("colours", *key)).rows(rows, pixels.device))


class EpochBatches(Protocol):
    """Batches of one process; ``len`` and the order are those of the global batches."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Any: ...
    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch, which determines order and augmentation, and the global batch at which iteration starts."""


@dataclass(frozen=True)
class Loaders:
    """Training and test batches: pairs of inputs (N, 3, H, W) and targets, on the model's device.

    With several processes, each has its part of every batch, and all have the same number of test batches.
    """

    train: EpochBatches
    test: Iterable[tuple[Tensor, Tensor]]
