"""Everything that resuming needs, in one file, written whole or not at all."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from transfer.errors import RunError
from transfer.files import write_whole


class State:
    """The training state in a run folder: weights, optimizer, scaler, epochs so far."""

    def __init__(self, folder: Path):
        self.path = folder / "state.pt"

    def save(self, content: dict[str, Any]) -> None:
        """Write tensors, numbers, strings, lists and dicts."""
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_whole(self.path, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, None when nothing was; never runs code from the file.

        Raises:
            RunError: the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, OSError) as error:
            raise RunError(f"{self.path} is damaged ({error}); delete it to train again from the start") from error

    def clear(self) -> None:
        """Remove the file: the run is finished."""
        self.path.unlink(missing_ok=True)
