"""Fashion-MNIST (Xiao 2017, MIT): 60,000 + 10,000 grey images of 28 px, here padded with black to 32 px."""

from __future__ import annotations

from pathlib import Path

from transfer.data.dataset import Dataset
from transfer.data.sources.idx import Family, load_idx

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts the files


def load(root: Path) -> Dataset:
    """Load the four IDX files, each raw or as .gz, else download them.

    Looked for in ``root``, ``root/fashion-mnist``, ``root/FashionMNIST/raw``, then where Debian's package
    puts them. Three equal channels.

    Raises:
        InputError: a file is absent, truncated or wrong.
    """
    from torchvision.datasets import FashionMNIST

    family = Family(
        "fashion-mnist", FashionMNIST, CLASSES, "https://github.com/zalandoresearch/fashion-mnist",
        ", or install Debian's dataset-fashion-mnist", border=2,
    )  # fmt: skip
    return load_idx(family, root, (root, root / family.name, family.raw(root), SYSTEM))
