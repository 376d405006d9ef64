"""Small random splits: in memory, and as files on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2.functional import to_pil_image

from transfer.data.dataset import ImageFiles, Images


def random_images(count: int = 13, side: int = 8, classes: int = 3, seed: int = 0) -> Images:
    source = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=source, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % classes)


@pytest.fixture
def images() -> Callable[..., Images]:
    return random_images


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., ImageFiles]:
    """Write PNG files of slightly different sizes."""

    def make(count: int = 5, side: int = 20, classes: int = 3) -> ImageFiles:
        paths = [tmp_path / f"{i}.png" for i in range(count)]
        for i, path in enumerate(paths):
            to_pil_image(random_images(1, side, seed=i).pixels[0, :, : side - i % 3]).save(path)
        return ImageFiles(tuple(paths), torch.arange(count) % classes)

    return make
