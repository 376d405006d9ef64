"""Everything that resuming needs, in one file, written whole or not at all."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from transfer.errors import RunError
from transfer.files import write_whole

KEYS = {"model", "optimizer", "scheduler_step", "scaler", "identity", "epochs", "best_epoch", "seconds"}


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
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, LookupError, OSError, ValueError, TypeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise self._damaged(reason) from error
        if not isinstance(content, dict) or not set(content) >= KEYS:
            raise self._damaged("it holds no training state")
        return content

    def clear(self) -> None:
        """Remove the file: the run is finished."""
        self.path.unlink(missing_ok=True)

    def _damaged(self, reason: str) -> RunError:
        return RunError(f"{self.path} is damaged ({reason}); delete it to train again from the start")
