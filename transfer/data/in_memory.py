"""Batches of images that are held as one uint8 tensor on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from transfer.data import geometry
from transfer.data.dataset import Images
from transfer.data.draws import draw
from transfer.data.order import generator, part
from transfer.data.preprocess import Preprocess


class InMemory:
    """The images on their device; a batch is gathered, augmented and normalised in a few operations."""

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
            yield self.preprocess.normalise(pixels), self.labels[mine]

    def _geometry(self, pixels: Tensor, count: int, rows: slice, epoch: int, number: int) -> Tensor:
        """Augment and resize the ``rows`` of a global batch of ``count``; the draws are for all of it."""
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
