"""Fashion-MNIST (Xiao 2017, MIT): 60,000 + 10,000 grey images of 28 px, here padded with black to 32 px."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F

from checkpoints.errors import InputError
from transfer.data.dataset import Dataset, Images
from transfer.data.fetching import downloaded
from transfer.data.idx import read_idx

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts the files
STEMS = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))


def load(root: Path) -> Dataset:
    """Load the four IDX files, each raw or as .gz, else download them.

    Looked for in ``root``, ``root/fashion-mnist``, ``root/FashionMNIST/raw``, then where Debian's package
    puts them. Three equal channels. Raises InputError for absent, truncated or wrong files.
    """
    places = (root, root / "fashion-mnist", root / "FashionMNIST/raw", SYSTEM)
    found = next((files for files in map(_files, places) if files), None) or _download(root)
    train, test = _images(found[0], found[1]), _images(found[2], found[3])
    return Dataset("fashion-mnist", train, test, CLASSES, "test")


def _files(folder: Path) -> list[Path] | None:
    """Return the four files of a folder in the order of STEMS; None unless all are there."""
    try:
        files = [next((p for p in (folder / s, folder / f"{s}.gz") if p.is_file()), None) for s in STEMS]
    except OSError as error:
        raise InputError(f"fashion-mnist: cannot read {folder} ({error.strerror}); check its permissions") from None
    present = [file for file in files if file]
    return present if len(present) == len(STEMS) else None


def _download(root: Path) -> list[Path]:
    from torchvision.datasets import FashionMNIST

    remedy = (
        f"get {', '.join(f'{s}.gz' for s in STEMS)} from https://github.com/zalandoresearch/fashion-mnist "
        f"and put them in {root / 'fashion-mnist'}, or install Debian's dataset-fashion-mnist"
    )
    downloaded(lambda fetch: FashionMNIST(root, download=fetch), name="fashion-mnist", root=root, remedy=remedy)
    files = _files(root / "FashionMNIST/raw")
    if files is None:  # torchvision looks at other files too
        raise InputError(f"fashion-mnist: {root / 'FashionMNIST'} holds no raw files; remove the folder, or {remedy}")
    return files


def _images(pixel_file: Path, label_file: Path) -> Images:
    pixels, labels = read_idx(pixel_file, 3), read_idx(label_file, 1)
    if tuple(pixels.shape[1:]) != (28, 28):
        raise InputError(f"{pixel_file}: images of {tuple(pixels.shape[1:])} pixels, want (28, 28)")
    if len(pixels) != len(labels):
        raise InputError(f"{label_file}: {len(labels)} labels for {len(pixels)} images in {pixel_file.name}")
    return Images(F.pad(pixels, (2, 2, 2, 2))[:, None].expand(-1, 3, -1, -1).contiguous(), labels.long())
