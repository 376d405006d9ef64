"""One run of a comparison or a sweep, whose name prefixes its errors."""

from dataclasses import dataclass
from pathlib import Path

import torch

from checkpoints.errors import InputError, out_of_memory
from transfer.errors import RunError, ScoreError, TrainingError
from transfer.recipe import Recipe
from transfer.runs.folder import Held
from transfer.runs.naming import called
from transfer.runs.run import Result, run
from transfer.runs.shelf import Shelf

NAMED = (Held, InputError, ScoreError, TrainingError, RunError, torch.OutOfMemoryError)  # one line each, of a known run
PATIENCE = 60.0  # seconds for a process of an earlier start that was told to end, and is saving


@dataclass(frozen=True)
class Cell:
    """A recipe, the folder that will hold its run folder, and what people call it (None: by its pruning and seed)."""

    recipe: Recipe
    out: Path
    name: str | None = None

    def __str__(self) -> str:
        return called(self.recipe) if self.name is None else self.name

    def run(self, shelf: Shelf, *, progress: bool = False) -> Result:
        """Run the recipe, resume it, or return the result of an earlier start.

        Raises:
            InputError, RunError, torch.OutOfMemoryError, OSError: as ``run``; the message begins with the cell's name.
        """
        try:
            return run(self.recipe, out=self.out, progress=progress, shelf=shelf, patience=PATIENCE)
        except Exception as error:
            named = self._named(error)
            if named is None:
                raise
            raise named from error

    def _named(self, error: Exception) -> Exception | None:
        """Return an error of the same type that names the cell; None for a bug, which keeps its full traceback."""
        for kind in NAMED:
            if isinstance(error, kind):
                return kind(f"{self}: {error}")
        if out_of_memory(error):
            return torch.OutOfMemoryError(f"{self}: {error}")
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            return OSError(error.errno, f"{self}: {error.strerror or error}", error.filename)
        return None
