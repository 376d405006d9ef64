"""Write a state dict as a sparse file: every tensor in the smallest form of those in docs/sparse_format.md."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from checkpoints.errors import InputError
from checkpoints.files import write_whole
from checkpoints.weights_file import serialized

from . import places, table, values
from .limits import assert_within
from .table import Dense, Row, Sparse
from .words import words

WORTH = 1024  # bytes that a tensor has to become smaller by: two entries and a longer row cost space and time
SPLIT = 32  # of so many weights one is kept where values are split: below, reading them would take too long
NARROW = (torch.float16, torch.bfloat16)

Entries = dict[str, Tensor]


def save_sparse(
    state_dict: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write tensors by name to a small .safetensors file, whole or not at all, and return the path.

    Zeros are found by value, +0.0 alone: -0.0 and nan stay, bit for bit. With ``dtype``, torch.float16 or
    torch.bfloat16, wider floats of two or more dimensions are rounded to it, and loaded in the dtype that they had;
    what it rounds to +0.0 counts as zero. ``metadata`` are strings, as ``checkpoints.save`` writes them. The same
    input gives the same bytes (with the same version of zstandard). ``transfer.load_sparse`` and
    ``checkpoints.load`` read the file.

    Raises:
        InputError: a value is no dense tensor of real numbers or too large for ``dtype``, a name or metadata key is
            taken, nearly all of many weights are zero, or the folder cannot be written.
    """
    if dtype not in (None, *NARROW):
        raise InputError(f"cannot store values as {dtype}; give torch.float16, torch.bfloat16 or None (as they are)")
    found = {name: _form(name, _plain(name, value), dtype) for name, value in state_dict.items()}
    rows = {name: row for name, (row, _) in found.items()}
    tensors = _together(found)
    content = table.signed(serialized(tensors, _described(metadata or {}) | {table.ROWS_KEY: table.to_text(rows)}))
    try:
        assert_within({name: value.shape for name, value in tensors.items()}, rows, len(content))
        write_whole(Path(path), content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}; give a folder you can write") from None
    except ValueError as error:
        raise InputError(f"cannot write {path}: {error}; a file of safetensors serves") from None
    return Path(path)


def _described(metadata: Mapping[str, str]) -> dict[str, str]:
    taken = [key for key in metadata if key in table.KEYS]
    odd = [item for item in metadata.items() if not all(isinstance(word, str) for word in item)]
    if odd:
        raise InputError(
            f"metadata has {odd[0][0]!r}: {odd[0][1]!r}; give strings alone, such as json.dumps of the value"
        )
    if taken:
        raise InputError(f"metadata key {taken[0]} belongs to the sparse file itself; give it another name")
    return {**metadata, table.VERSION_KEY: table.VERSION, table.CRC_KEY: table.UNKNOWN}


def _plain(name: str, value: Any) -> Tensor:
    if not isinstance(name, str) or name == "__metadata__":
        raise InputError(f"a tensor is named {name!r}; give a string other than __metadata__")
    plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
    if not plain or str(value.dtype).removeprefix("torch.") not in table.DTYPES:
        got = f"{value.dtype}, {value.layout}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{name} is no plain tensor ({got}); save dense ones of {', '.join(table.DTYPES)}")
    return value.detach().cpu().contiguous()


def _together(found: Mapping[str, tuple[Row, Entries]]) -> Entries:
    tensors: Entries = {}
    for name, (_, parts) in found.items():
        if tensors.keys() & parts.keys():
            raise InputError(f"two tensors named {name} meet in the file; names must not begin with places: or values:")
        tensors |= parts
    return tensors


def _form(name: str, value: Tensor, dtype: torch.dtype | None) -> tuple[Row, Entries]:
    """Return a tensor's row and entries, in the smallest form."""
    stored = _rounded(name, value, dtype)
    elements = words(stored)
    kept = elements.numpy().nonzero()[0]
    if stored.nbytes - kept.size * stored.element_size() < WORTH:  # no form could be worth it
        return _dense(name, value, stored)
    forms = {kind: write(kept, stored.numel()) for kind, write in places.WRITE.items()}
    where: Literal["bits", "gaps"] = "bits" if len(forms["bits"]) <= len(forms["gaps"]) else "gaps"
    how, what = _values(elements[torch.from_numpy(kept)].view(stored.dtype), stored.numel())
    if stored.nbytes - len(forms[where]) - what.nbytes < WORTH:
        return _dense(name, value, stored)
    parts = dict(zip(table.entries(name), (_bytes(forms[where]), what), strict=True))
    row = Sparse(_name(value), _crc(*parts.values()), list(value.shape), kept.size, _name(stored), where, how)
    return row, parts


def _rounded(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or not value.is_floating_point() or value.dim() < 2 or value.element_size() <= dtype.itemsize:
        return value
    stored = value.to(dtype)
    if bool((stored.isinf() & ~value.isinf()).any()):
        largest = float(value[value.isfinite()].abs().max())
        raise InputError(f"{name} has the value {largest:g}, too large for {dtype}; give torch.bfloat16 or None")
    return stored


def _dense(name: str, value: Tensor, stored: Tensor) -> tuple[Row, Entries]:
    return Dense(_name(value), _crc(stored)), {name: stored}


def _values(kept: Tensor, total: int) -> tuple[Literal["raw", "split"], Tensor]:
    """Return the kept values split where this is smaller and they are few, else as they are."""
    width = kept.element_size()
    if width > 1 and 0 < kept.numel() * SPLIT < total:
        shorter = values.split(kept.view(torch.uint8).view(-1, width).numpy())
        if len(shorter) < kept.nbytes:
            return "split", _bytes(shorter)
    return "raw", kept


def _bytes(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytearray(content), np.uint8))


def _name(value: Tensor) -> Any:
    return str(value.dtype).removeprefix("torch.")


def _crc(*parts: Tensor) -> int:
    """Return the CRC-32 of the bytes of tensors, one after the other."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part.reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc
