"""Registers fashion-mnist-2000: 200 training and 200 test images of each class of Fashion-MNIST.

    transfer --import benchmarks.fashion_2000 sweep --grid benchmarks/grids/fashion.toml

The images are the same for every seed.
"""

import dataclasses
from pathlib import Path

from transfer import data
from transfer.data.dataset import Dataset
from transfer.data.pruning_set import balanced
from transfer.data.sources import fashion_mnist


def load(root: Path) -> Dataset:
    """Load Fashion-MNIST from where users keep data, and choose the images."""
    whole = fashion_mnist.load(root)
    train, test = (
        split.subset(balanced(split.labels, whole.classes, per_class=200, seed=0))
        for split in (whole.train, whole.test)
    )
    return dataclasses.replace(whole, name="fashion-mnist-2000", train=train, test=test)


data.register("fashion-mnist-2000", load)
