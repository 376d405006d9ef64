"""The IDX format of the MNIST family: a magic number, big-endian sizes, bytes; raw or gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from checkpoints.errors import InputError

UNSIGNED_BYTE = 8


def read_idx(path: Path, dims: int) -> Tensor:
    """Read a file of unsigned bytes with ``dims`` dimensions: uint8 of the shape that its head names.

    Raises InputError, with the file's name, when it cannot be read, is no such file, or is shorter or longer
    than its head says.
    """
    content = _content(path)
    head = 4 * (1 + dims)
    if len(content) < head or content[:4] != bytes((0, 0, UNSIGNED_BYTE, dims)):
        raise InputError(f"{path}: not an IDX file of bytes in {dims} dimensions; replace it by the original")
    shape = struct.unpack(f">{dims}I", content[4:head])
    if len(content) - head != prod(shape):
        raise InputError(
            f"{path}: holds {len(content) - head} bytes of data, its head says {prod(shape)}; get it again"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[head:].view(shape)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); get the file again") from None
