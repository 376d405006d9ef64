"""Read tensors from a file that nobody vouches for, running no code in it; write them whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .errors import InputError

# Where training scripts keep the weights beside the optimizer, averaged weights first (DINO: the teacher).
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher", "student")


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a .safetensors, .pth, .pth.tar, .pt or .bin file by key, and its string metadata.

    Raises InputError, one line, for an absent file, a folder, a truncated or foreign file, a TorchScript
    archive, a pickle that wants code, and a file without tensors.
    """
    if not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give a weights file")
    tensors, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_pickle(path), {})
    if not tensors:
        allowed = ", ".join(CONTAINERS)
        raise InputError(f"{path} holds no tensors by name; expected a state dict, bare or under {allowed}")
    return tensors, metadata


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file, whole or not at all; the same tensors and metadata give the same bytes.

    Raises InputError when the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(serialized(tensors, metadata))
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
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


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise _unreadable(path, error) from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import torch

    if _is_torchscript(path):
        raise InputError(f"{path} is a TorchScript archive, so code; save its state_dict() as .safetensors")
    try:
        return _tensors(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise _unwanted(path, error) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from None


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:  # PyTorch's older format, or no weights file: torch.load will say
        return False


def _unwanted(path: Path, error: pickle.UnpicklingError) -> InputError:
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted is None:
        return _unreadable(path, error)
    return InputError(
        f"{path} wants to run code ({wanted[1]}), only tensors are read; "
        "if you trust it, save its state dict alone as .safetensors"
    )


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:150]
    return InputError(f"{path} is truncated or no weights file ({reason}); get it again")


def _tensors(content: Any) -> dict[str, Tensor]:
    for key in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return _tensors(content[key])
    if not isinstance(content, Mapping):
        return {}
    return {str(key): value.detach() for key, value in content.items() if isinstance(value, Tensor)}
