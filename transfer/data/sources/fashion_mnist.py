"""Fashion-MNIST (Xiao 2017, MIT): 60,000 + 10,000 grey images of 28 px, here padded with black to 32 px."""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data.dataset import Dataset, Images
from transfer.data.sources.download import downloaded

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts the files
STEMS = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
UNSIGNED_BYTE = 8
LARGEST = 1 << 30  # bytes; the largest of the family, EMNIST, has 547 million


def load(root: Path) -> Dataset:
    """Load the four IDX files, each raw or as .gz, else download them.

    Looked for in ``root``, ``root/fashion-mnist``, ``root/FashionMNIST/raw``, then where Debian's package
    puts them. Three equal channels.

    Raises:
        InputError: a file is absent, truncated or wrong.
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


def read_idx(path: Path, dims: int) -> Tensor:
    """Read an IDX file of unsigned bytes with ``dims`` dimensions: uint8 of the shape that its header states.

    No more bytes are unpacked than the header states.

    Raises:
        InputError: the file cannot be read, is no such file, is shorter or longer than its header states, or would
            have more than LARGEST bytes.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _read(gzip.GzipFile(fileobj=file) if packed else file, path, dims)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); get the file again") from None


def _read(file: BinaryIO | gzip.GzipFile, path: Path, dims: int) -> Tensor:
    head = file.read(4 * (1 + dims))
    if len(head) < 4 * (1 + dims) or head[:4] != bytes((0, 0, UNSIGNED_BYTE, dims)):
        raise InputError(f"{path}: not an IDX file of bytes in {dims} dimensions; replace it by the original")
    shape = struct.unpack(f">{dims}I", head[4:])
    size = prod(shape)
    if not 0 < size <= LARGEST:
        raise InputError(f"{path}: its head says {size} bytes of data, allowed are 1 to {LARGEST}; get it again")
    content = bytearray(file.read(size + 1))
    if len(content) != size:
        held = f"more than {size}" if len(content) > size else str(len(content))
        raise InputError(f"{path}: holds {held} bytes of data, its head says {size}; get it again")
    return torch.frombuffer(content, dtype=torch.uint8).view(shape)
