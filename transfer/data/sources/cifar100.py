"""CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 images of 32 px, 100 fine classes; torchvision checks md5."""

from __future__ import annotations

from pathlib import Path

from transfer.data.dataset import Dataset
from transfer.data.sources.cifar10 import load_cifar


def load(root: Path) -> Dataset:
    """Load from ``root/cifar-100-python``, else download.

    Raises:
        InputError: the data set is neither there nor can be downloaded.
    """
    from torchvision.datasets import CIFAR100

    return load_cifar("cifar100", CIFAR100, root)
