"""Everything that resuming needs, in one file, written whole or not at all; the last two are kept."""

import io
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from checkpoints.files import write_whole
from checkpoints.weights_file import serialized, stored, unpickled
from transfer.errors import RunError

KEYS = {
    "identity", "model", "optimizer", "scheduler_step", "scaler", "done", "log", "elapsed",
    "epochs", "best_epoch", "seconds", "counts",
}  # fmt: skip


class State:
    """The training state in a run folder: weights, optimizer, scaler, the place in the epoch, epochs so far."""

    def __init__(self, folder: Path):
        self.path = folder / "state.pt"
        self.previous = folder / "state.previous.pt"
        self._aside = folder / ".state.pt.tmp"
        self._damaged = False

    def save(self, content: dict[str, Any]) -> None:
        """Write tensors, numbers, strings, lists and dicts; what was saved before becomes the previous state."""
        buffer = io.BytesIO()
        torch.save(content, buffer)  # given a file, it turns a full disk into an error of its own
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(self._aside, "wb") as file:  # one name, so that a killed process leaves one file at most
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists() and not self._damaged:
                os.replace(self.path, self.previous)
            os.replace(self._aside, self.path)
            self._damaged = False
        except BaseException as error:
            self._aside.unlink(missing_ok=True)
            if isinstance(error, OSError):
                error.filename = str(self.path)  # a full disk does not say which file
            raise

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, None when nothing was; never runs code from the file.

        A damaged state is passed over for the one before it, with a warning.

        Raises:
            RunError: every state that is there is damaged.
        """
        damaged = []
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                content = _read(path)
            except Exception as error:  # a file can be broken in more ways than its readers list
                damaged.append(f"{path} is damaged ({_reason(error)})")
                self._damaged = self._damaged or path == self.path
                continue
            if damaged:
                warnings.warn(f"{damaged[0]}; going on from {path.name}, saved before it", stacklevel=2)
            return content
        if damaged:
            raise RunError(f"{' and '.join(damaged)}; delete to train again from the start")
        return None

    def clear(self) -> None:
        """Remove the files: the run is finished."""
        for path in (self.path, self.previous, self._aside):
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    if not stored(path):  # first: reading what a zip declares could fill the memory
        raise ValueError("it is no zip")
    with zipfile.ZipFile(path) as archive:  # torch.load does not compare the checksums that torch.save writes
        changed = archive.testzip()
    if changed is not None:
        raise ValueError(f"{changed} has changed")
    content = unpickled(path)
    if not isinstance(content, dict) or not set(content) >= KEYS:
        raise ValueError("it holds no training state")
    return content


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested dicts and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Say whether no tensor holds nan or infinity."""
    flags: dict[torch.device, list[Tensor]] = {}  # one wait for each device, not one for each tensor
    for tensor in tensors:
        flags.setdefault(tensor.device, []).append(tensor.isfinite().all())
    return all(bool(torch.stack(found).all()) for found in flags.values())


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
