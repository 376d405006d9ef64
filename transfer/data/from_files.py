"""Batches of image files: decoded and resized by the workers of a DataLoader, normalised on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from checkpoints.errors import InputError
from transfer.data.augment import Augment
from transfer.data.dataset import ImageFiles
from transfer.data.decode import decode
from transfer.data.decoding import decoded
from transfer.data.draws import draw
from transfer.data.order import generator, part
from transfer.data.preprocess import Preprocess

Key = tuple[int, int]  # index of the sample, epoch: all that its random parameters depend on, besides the seed


class Decoder(TorchDataset[Tensor]):
    """Files to uint8 pixels of the model's size; what the workers run."""

    def __init__(self, files: ImageFiles, preprocess: Preprocess, *, seed: int) -> None:
        self.paths, self.preprocess, self.seed = files.paths, preprocess, seed

    def __getitem__(self, key: Key) -> Tensor:
        """Return one image, uint8 (3, S, S). Raises InputError for a file that is not a readable image."""
        index, epoch = key
        image, augment = decode(self.paths[index], self.paths[index]), self.preprocess.augment
        if augment is not None:
            image = self._augment(image, augment, generator("augment", self.seed, epoch, index))
        return transforms.pil_to_tensor(image if self._random_size else self._centre(image))

    def __getitems__(self, keys: list[Key]) -> Tensor | InputError:
        """Return a batch, uint8 (n, 3, S, S), or the error as a value: raised, it gains a traceback."""
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

    def _centre(self, image: Image.Image) -> Image.Image:
        """Resize the shorter side to 256/224 of the size, cut out the centre."""
        size, mode = self.preprocess.size, InterpolationMode(self.preprocess.interpolation)
        return transforms.center_crop(transforms.resize(image, [round(size * 256 / 224)], interpolation=mode), [size])


class FromFiles:
    """The files of a split and the workers that decode them."""

    def __init__(
        self, files: ImageFiles, preprocess: Preprocess, *, seed: int, device: torch.device, workers: int
    ) -> None:
        self.decoder, self.labels = Decoder(files, preprocess, seed=seed), files.labels
        self.preprocess, self.device, self.workers = preprocess, device, workers

    def walk(
        self, batches: Sequence[Tensor], *, epoch: int, start: int, rank: int, world: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's part of each global batch, from batch ``start`` on.

        Raises InputError for a file that is no image.
        """
        mine = [indices[part(len(indices), rank, world)] for indices in batches[start:]]
        pictures = decoded(self.decoder, mine, epoch=epoch, workers=self.workers, device=self.device)
        for indices, pixels in zip(mine, pictures, strict=True):
            pixels = pixels.to(self.device, non_blocking=True)
            yield self.preprocess.normalise(pixels), self.labels[indices].to(self.device)
