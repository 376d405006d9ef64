"""Read a sparse file from anyone: every byte is checked, and memory is bounded by the size of the file."""

from __future__ import annotations

import math
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from checkpoints.errors import InputError, out_of_memory, reason

from . import places, table, values
from .container import Container
from .limits import assert_within
from .table import Dense, Row, Rows, Sparse
from .words import words

THREADS = min(4, os.cpu_count() or 1)


def load_sparse(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors that ``save_sparse`` wrote, by name, in their order, shapes and dtypes.

    Raises:
        InputError: the file is absent or may not be read, is no sparse file or of another version, or any byte of it is
            damaged.
        MemoryError: this machine has too little for the tensors.
    """
    return read(Path(path))[0]


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a sparse file's tensors, as ``load_sparse`` does, and its string metadata.

    Raises:
        InputError: as ``load_sparse``.
    """
    if not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give a sparse file")
    try:
        container = Container(path)
        rows = _rows(container)
        with ThreadPoolExecutor(THREADS) as pool:  # NumPy, torch, zlib and zstandard let other threads work meanwhile
            found = list(pool.map(partial(_tensor, container), rows, rows.values()))
        return dict(zip(rows, found, strict=True)), _metadata(container)
    except _Refused as error:
        raise InputError(f"{path} {error}") from None
    except PermissionError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); ask for the right to") from None
    except Exception as error:  # of safetensors, zstandard, torch, or of JSON that is not what it should be
        if out_of_memory(error):
            raise MemoryError(reason(error)) from None
        raise InputError(f"{path} is truncated or damaged ({reason(error)}); get it again") from None


class _Refused(Exception):
    """A whole file that cannot be read."""


def _rows(container: Container) -> Rows:
    """Return the rows, once the header is what was written and unpacks to what its size allows."""
    metadata = container.metadata
    if table.VERSION_KEY not in metadata:
        raise _Refused("is no sparse file; transfer.save_sparse writes one, and checkpoints.load reads others")
    version = metadata[table.VERSION_KEY]
    if version != table.VERSION:
        raise _Refused(f"is a sparse file of version {version!r}; version {table.VERSION} is read, update px-transfer")
    if table.header_crc(container.header, metadata[table.CRC_KEY]) != metadata[table.CRC_KEY]:
        raise ValueError("the checksum of its header is wrong")
    rows = table.from_text(metadata[table.ROWS_KEY])
    expected = [part for name, row in rows.items() for part in _parts(name, row)]
    if sorted(expected) != sorted(container.entries):
        raise ValueError("its entries are not those of its rows")
    assert_within(container.shapes(), rows, container.size)
    return rows


def _parts(name: str, row: Row) -> tuple[str, ...]:
    return (name,) if isinstance(row, Dense) else table.entries(name)


def _metadata(container: Container) -> dict[str, str]:
    return {key: value for key, value in container.metadata.items() if key not in table.KEYS}


def _tensor(container: Container, name: str, row: Row) -> Tensor:
    crc = 0
    for part in _parts(name, row):
        crc = zlib.crc32(container.content(part), crc)
    if crc != row.crc32:
        raise ValueError(f"the checksum of {name} is wrong")
    try:
        found = container.tensor(name).clone() if isinstance(row, Dense) else _filled(container, name, row)
    except Exception as error:
        if out_of_memory(error):
            raise
        raise ValueError(f"{name}: {error}") from None
    return found.to(getattr(torch, row.dtype))


def _filled(container: Container, name: str, row: Sparse) -> Tensor:
    """Return +0.0 everywhere but at the places, where the values are."""
    where, what = table.entries(name)
    total = math.prod(row.shape)
    kept = _kept(container, what, row)
    found = torch.from_numpy(places.READ[row.places](container.content(where), row.kept, total))
    elements = words(kept)
    return torch.zeros(total, dtype=elements.dtype).scatter_(0, found, elements).view(kept.dtype).view(row.shape)


def _kept(container: Container, name: str, row: Sparse) -> Tensor:
    dtype = getattr(torch, row.stored)
    if row.values == "split":
        joined = values.joined(container.content(name), row.kept, dtype.itemsize)
        return torch.from_numpy(joined).view(-1).view(dtype)
    kept = container.tensor(name)
    if kept.dtype != dtype or kept.shape != (row.kept,):
        raise ValueError(f"{kept.dtype} values of shape {tuple(kept.shape)}, {row.kept} of {dtype} were stated")
    return kept
