"""Data sets of grey 28-pixel images in four IDX files: MNIST and those made in its form."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data.dataset import Dataset, Images
from transfer.data.sources.download import downloaded

STEMS = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
UNSIGNED_BYTE = 8
LARGEST = 1 << 30  # bytes; the largest of the family, EMNIST, has 547 million


@dataclass(frozen=True)
class Family:
    """One such data set: its name, torchvision's class, its classes, and how to get the files by hand."""

    name: str
    kind: Any
    classes: tuple[str, ...]
    origin: str
    """Where the four .gz files are published."""
    hint: str = ""
    """Another way to get them, for the end of an error."""
    border: int = 0
    """Black pixels added on each side."""

    def raw(self, root: Path) -> Path:
        """Return the folder in which torchvision keeps the files."""
        return root / self.kind.__name__ / "raw"


def load_idx(family: Family, root: Path, places: Iterable[Path]) -> Dataset:
    """Load the four files, each raw or as .gz, from the first of the ``places`` that has them, else download them.

    Three equal channels.

    Raises:
        InputError: a file is absent, truncated or wrong.
    """
    found = next((files for files in (_files(family.name, place) for place in places) if files), None)
    files = found or _download(family, root)
    train, test = (_images(files[i], files[i + 1], family.border) for i in (0, 2))
    return Dataset(family.name, train, test, family.classes, "test")


def _files(name: str, folder: Path) -> list[Path] | None:
    """Return the four files of a folder in the order of STEMS; None unless all are there."""
    try:
        files = [next((p for p in (folder / s, folder / f"{s}.gz") if p.is_file()), None) for s in STEMS]
    except OSError as error:
        raise InputError(f"{name}: cannot read {folder} ({error.strerror}); check its permissions") from None
    present = [file for file in files if file]
    return present if len(present) == len(STEMS) else None


def _download(family: Family, root: Path) -> list[Path]:
    names = ", ".join(f"{stem}.gz" for stem in STEMS)
    remedy = f"get {names} from {family.origin} and put them in {root / family.name}{family.hint}"
    downloaded(lambda fetch: family.kind(root, download=fetch), name=family.name, root=root, remedy=remedy)
    files = _files(family.name, family.raw(root))
    if files is None:  # torchvision looks at other files too
        folder = family.raw(root).parent
        raise InputError(f"{family.name}: {folder} holds no raw files; remove the folder, or {remedy}")
    return files


def _images(pixel_file: Path, label_file: Path, border: int) -> Images:
    pixels, labels = read_idx(pixel_file, 3), read_idx(label_file, 1)
    if tuple(pixels.shape[1:]) != (28, 28):
        raise InputError(f"{pixel_file}: images of {tuple(pixels.shape[1:])} pixels, want (28, 28)")
    if len(pixels) != len(labels):
        raise InputError(f"{label_file}: {len(labels)} labels for {len(pixels)} images in {pixel_file.name}")
    return Images(F.pad(pixels, (border,) * 4)[:, None].expand(-1, 3, -1, -1).contiguous(), labels.long())


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
