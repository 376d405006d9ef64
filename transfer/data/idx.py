"""The IDX format of the MNIST family: a magic number, big-endian sizes, bytes; raw or gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from checkpoints.errors import InputError

UNSIGNED_BYTE = 8
LARGEST = 1 << 30  # bytes; the largest of the family, EMNIST, has 547 million


def read_idx(path: Path, dims: int) -> Tensor:
    """Read a file of unsigned bytes with ``dims`` dimensions: uint8 of the shape that its head names.

    Raises InputError, with the file's name, when it cannot be read, is no such file, is shorter or longer than
    its head says, or would have more than LARGEST bytes; no more than the head says is unpacked.
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
