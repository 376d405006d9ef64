"""Read tensors from an untrusted file without running code in it; write them whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from .errors import InputError, reason
from .files import write_whole
from .sparse.table import DTYPES, VERSION_KEY

# Where training scripts keep the weights beside the optimizer, averaged weights first (DINO: the teacher).
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "teacher", "student")
NESTED = 4  # limit of nested containers: a pickle can contain itself
ZIP_START, ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
PICKLE_START = b"\x80"
ZIP_END_SIZE = 22
LEGACY_PICKLES = 5  # of PyTorch's older format, one after the other: magic, version, machine, content, keys


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a .safetensors, .pth, .pth.tar, .pt, .bin or .ckpt file by key, and its string metadata.

    The content decides how it is read, not the name; a sparse file's tensors come as they were before.

    Raises:
        InputError: the path is absent or a folder, or the file is truncated, of another kind, a TorchScript archive,
            a pickle that wants code, a compressed archive or without tensors, or a tensor is not dense and real.
    """
    if not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give a weights file")
    tensors, metadata = _read_safetensors(path) if _is_safetensors(path) else (_read_pickle(path), {})
    if not tensors:
        allowed = ", ".join(CONTAINERS)
        raise InputError(f"{path} holds no tensors by name; expected a state dict, bare or under {allowed}")
    _assert_plain(path, tensors)
    return tensors, metadata


def unpickled(path: Path) -> Any:
    """Return what ``torch.save`` wrote: tensors, numbers, strings and containers. No code of the file runs.

    Raises:
        InputError: as ``read``.
    """
    import torch

    stored(path)
    _assert_no_bytearray(path)
    try:
        with path.open("rb") as file:  # by a path, torch would read what is named .safetensors as such
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unwanted(path, error) from None
    except Exception as error:  # a damaged pickle calls what is allowed with any arguments: no list is complete
        raise _unreadable(path, error) from None


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file, whole or not at all; the same tensors and metadata give the same bytes.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        write_whole(path, serialized(tensors, metadata))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}; give a folder you can write") from None


def serialized(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return a .safetensors file's bytes, the metadata sorted: safetensors itself writes them in any order."""
    from safetensors.torch import save

    content = save({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}, dict(metadata))
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins like safetensors (length of a JSON header) or has that suffix and is no pickle."""
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return True
    return path.suffix == ".safetensors" and start[:4] != ZIP_START and start[:1] != PICKLE_START


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            if VERSION_KEY not in metadata:
                return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except Exception as error:  # its own error, or what torch says of a dtype or a shape
        raise _unreadable(path, error) from None
    from .sparse.read import read as read_sparse

    return read_sparse(path)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    return _tensors(unpickled(path))


def stored(path: Path) -> list[zipfile.ZipInfo]:
    """Return a zip's entries; refuse one with code, and one that would grow: ``torch.save`` never compresses.

    A file that does not begin as a zip has none: it is in PyTorch's older format, or torch.load will say.
    """
    try:
        entries = _entries(path)
    except (OSError, EOFError, ValueError, RuntimeError, struct.error, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise InputError(f"{path} is a TorchScript archive, so code; save its state_dict() as .safetensors")
    size, unpacked = path.stat().st_size, sum(entry.file_size for entry in entries)
    if unpacked > size:
        raise InputError(
            f"{path} has {size} bytes and would unpack to {unpacked}; PyTorch's files are not compressed, get it again"
        )
    return entries


def _assert_no_bytearray(path: Path) -> None:
    """Refuse a pickle that names bytearray: a few bytes in it make torch.load allocate any amount of memory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools' own, of strings in a damaged file
            found = any(wanted in ("builtins bytearray", "__builtin__ bytearray") for wanted in _globals(path))
    except (OSError, EOFError, ValueError, RuntimeError, struct.error, zipfile.BadZipFile, MemoryError):
        return  # damaged: torch.load says how
    if found:
        raise InputError(f"{path} holds a bytearray, only tensors are read; save its state dict alone as .safetensors")


def _globals(path: Path) -> Iterator[str]:
    """Yield the "module name" of all that a file's pickles ask for."""
    if not _entries(path):
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                yield from _named(file)
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as file:
                    yield from _named(file)


def _named(file: IO[bytes]) -> Iterator[str]:
    return (str(argument) for code, argument, _ in pickletools.genops(file) if code.name == "GLOBAL")


def _entries(path: Path) -> list[zipfile.ZipInfo]:
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            return []
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - ZIP_END_SIZE))
        if file.read(len(ZIP_END)) != ZIP_END:  # two readers could take two ends for the right one
            raise zipfile.BadZipFile("the zip does not end where its list of files does")
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()


def _unwanted(path: Path, error: pickle.UnpicklingError) -> InputError:
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted is None:
        said = str(error).partition("WeightsUnpickler error:")[2]  # before it stands advice to load it with its code
        return _unreadable(path, ValueError(said or "no pickle of tensors"))
    return InputError(
        f"{path} wants to run code ({wanted[1][:100]}), only tensors are read; "
        "if you trust it, save its state dict alone as .safetensors"
    )


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is truncated or no weights file ({reason(error)}); get it again")


def _tensors(content: Any, nested: int = NESTED) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for key in CONTAINERS:
        if nested and isinstance(content.get(key), Mapping):
            return _tensors(content[key], nested - 1)
    named = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    return {key: value.detach() for key, value in named.items()}


def _assert_plain(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse sparse, nested, quantized, complex, packed and meta tensors: a model would not take their values."""
    import torch

    for key, value in tensors.items():
        dense = type(value) is Tensor and value.layout == torch.strided and not value.is_nested
        if not dense or value.device.type != "cpu" or str(value.dtype).removeprefix("torch.") not in DTYPES:
            got = f"{value.dtype}, {value.layout}, {value.device.type}"
            raise InputError(f"{path}: {key} is no plain tensor ({got}); save dense ones of {', '.join(DTYPES)}")
