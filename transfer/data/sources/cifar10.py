"""CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 px; md5 sums checked by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from transfer.data.dataset import Dataset, Images
from transfer.data.sources.download import downloaded


def load(root: Path) -> Dataset:
    """Load from ``root/cifar-10-batches-py``, else download.

    Raises:
        InputError: the data set is neither there nor can be downloaded.
    """
    from torchvision.datasets import CIFAR10

    return load_cifar("cifar10", CIFAR10, root)


def load_cifar(name: str, kind: Any, root: Path) -> Dataset:
    """Load CIFAR-10 or -100 by its torchvision class."""
    remedy = f"get {kind.url} (md5 {kind.tgz_md5}) and put it, or its folder {kind.base_folder}, in {root}"

    def build(download: bool) -> tuple[Any, Any]:
        return kind(root, train=True, download=download), kind(root, train=False, download=download)

    train, test = downloaded(build, name=name, root=root, remedy=remedy)
    return Dataset(name, _images(train), _images(test), tuple(train.classes), "test")


def _images(split: Any) -> Images:
    pixels = torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous()
    return Images(pixels, torch.tensor(split.targets, dtype=torch.int64))
