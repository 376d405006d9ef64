"""MNIST (LeCun 1998): 60,000 + 10,000 grey images of handwritten digits, 28 px."""

from __future__ import annotations

from pathlib import Path

from transfer.data.dataset import Dataset
from transfer.data.sources.idx import Family, load_idx

CLASSES = tuple("0123456789")


def load(root: Path) -> Dataset:
    """Load the four IDX files, each raw or as .gz, else download them: torchvision's mirrors and md5 sums.

    Looked for in ``root/mnist`` and ``root/MNIST/raw``; not in ``root`` itself, as files of Fashion-MNIST have the same
    names. Three equal channels.

    Raises:
        InputError: a file is absent, truncated or wrong.
    """
    from torchvision.datasets import MNIST

    family = Family("mnist", MNIST, CLASSES, MNIST.mirrors[0])
    return load_idx(family, root, (root / family.name, family.raw(root)))
