"""A model's weights as a safetensors file and as a digest."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from checkpoints.errors import InputError
from checkpoints.weights_file import serialized
from transfer.files import write_whole


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict, whole or not at all."""
    write_whole(path, serialized(model.state_dict(), {}))


def load_weights(model: nn.Module, path: Path) -> None:
    """Load what :func:`save_weights` wrote.

    Raises:
        InputError: the file is absent, damaged or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"there is no file {path}; has the run finished?") from error
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path} does not hold this model's weights: {str(error).splitlines()[0]}") from error


def digest(model: nn.Module) -> str:
    """Return a SHA-256 over the names and bytes of the state dict."""
    sha = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        sha.update(f"{key}|{value.dtype}|{tuple(value.shape)}|".encode())
        sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()
