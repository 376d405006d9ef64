"""The training state for resuming, in one file that is written atomically; the last two are kept."""

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
    """The training state in a run folder: weights, optimizer, scaler, position in the epoch, finished epochs."""

    def __init__(self, folder: Path):
        self.path = folder / "state.pt"
        self.previous = folder / "state.previous.pt"
        self._aside = folder / ".state.pt.tmp"
        self._damaged = False

    def save(self, content: dict[str, Any]) -> None:
        """Write tensors, numbers, strings, lists and dicts; the state saved before becomes the previous state."""
        buffer = io.BytesIO()
        torch.save(content, buffer)  # writing to a file, torch.save hides the OSError of a full disk
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
                error.filename = str(self.path)  # the error of a full disk does not name the file
            raise

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, None if there is none; never runs code from the file.

        A damaged state is skipped in favour of the previous one, with a warning.

        Raises:
            RunError: every saved state is damaged.
        """
        damaged = []
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                content = _read(path)
            except Exception as error:  # damaged files raise more types than the readers document
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
        """Remove the files of a finished training."""
        for path in (self.path, self.previous, self._aside):
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    if not stored(path):  # first: reading a compressed zip could fill the memory
        raise ValueError("it is no zip")
    with zipfile.ZipFile(path) as archive:  # torch.load does not verify the checksums that torch.save writes
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
    """Return whether no tensor holds nan or infinity."""
    flags: dict[torch.device, list[Tensor]] = {}  # one synchronisation per device, not per tensor
    for tensor in tensors:
        flags.setdefault(tensor.device, []).append(tensor.isfinite().all())
    return all(bool(torch.stack(found).all()) for found in flags.values())


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict atomically."""
    write_whole(path, serialized(model.state_dict(), {}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights that :func:`save_weights` wrote.

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
    """Load weights that :func:`save_weights` wrote into the model.

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
