"""Files to batches of pixels and labels of one size; what the workers run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from checkpoints.errors import InputError
from transfer.data.map_augment import MapAugment
from transfer.data.map_files import read_pair
from transfer.data.map_transforms import Pair, centre_crop, random_crop
from transfer.data.maps import IGNORE, MaskFiles
from transfer.data.order import generator

Key = tuple[int, int]  # index of the sample, epoch: all that its random parameters depend on, besides the seed
Size = tuple[int, int]  # height, width
Packed = tuple[Tensor, Tensor, list[Size]]


class MapDecoder(TorchDataset[Pair]):
    """Reads images and masks and applies the geometry of one protocol."""

    def __init__(
        self,
        split: MaskFiles,
        *,
        crop: int,
        interpolation: str,
        augment: MapAugment | None,
        protocol: str,
        stride: int,
        seed: int,
    ) -> None:
        self.split, self.crop, self.interpolation, self.seed = split, crop, interpolation, seed
        self.augment, self.stride = augment, stride
        self.whole = augment is None and protocol == "whole"

    def __getitem__(self, key: Key) -> Pair:
        """Return one image, uint8 (3, h, w), and its labels, uint8 (h, w), not yet padded."""
        index, epoch = key
        pair = read_pair(self.split.images[index], self.split.masks[index], self.split.classes)
        if self.augment is not None:
            source = generator("map augment", self.seed, epoch, index)
            return random_crop(*pair, self.augment, self.crop, self.interpolation, source)
        return pair if self.whole else centre_crop(*pair, self.crop, self.interpolation)

    def __getitems__(self, keys: list[Key]) -> Packed | InputError:
        """Return a batch, or the error as a value: raised, it gains a traceback.

        Pixels uint8 (n, 3, H, W), labels uint8 (n, H, W), 255 in the padding, and the height and width of
        each image in them: it stands in the upper left corner.
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
    """Put images and labels into the upper left corners of one batch; what is left of the labels is 255."""
    height, width = canvas(pairs)
    pixels = torch.zeros(len(pairs), 3, height, width, dtype=torch.uint8)
    targets = torch.full((len(pairs), height, width), IGNORE, dtype=torch.uint8)
    sizes = []
    for i, (image, mask) in enumerate(pairs):
        high, wide = mask.shape
        pixels[i, :, :high, :wide], targets[i, :high, :wide] = image, mask
        sizes.append((high, wide))
    return pixels, targets, sizes
