"""A model's weights as a safetensors file."""

from pathlib import Path

from torch import Tensor, nn

from checkpoints.errors import InputError
from checkpoints.weights_file import serialized
from transfer.files import write_whole


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict, whole or not at all."""
    write_whole(path, serialized(model.state_dict(), {}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read what :func:`save_weights` wrote.

    Raises:
        InputError: the file is absent or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"there is no file {path}; has the run finished?") from error
    except (SafetensorError, RuntimeError) as error:
        raise _foreign(path, error) from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Load what :func:`save_weights` wrote into the model.

    Raises:
        InputError: the file is absent, damaged or of another model.
    """
    weights = read_weights(path)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise _foreign(path, error) from error


def _foreign(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} does not hold this model's weights: {str(error).splitlines()[0]}")
