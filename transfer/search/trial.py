"""A trial: a method that is fine-tuned up to a rung, in a run folder that holds its masks, its state and metrics."""

import json
import logging
from pathlib import Path
from typing import Any

from transfer import log
from transfer.data.held_out import held_out
from transfer.precision import precision_of
from transfer.recipe import Recipe
from transfer.runs.cell import PATIENCE
from transfer.runs.folder import RunFolder
from transfer.runs.prepare import Setup, prepare
from transfer.runs.prune_model import prune_model
from transfer.runs.shelf import Shelf
from transfer.sweeps.places import Places
from transfer.training import History, finetune

Epoch = dict[str, float]
METRICS = "metrics.jsonl"
_log = logging.getLogger(__name__)


class ValidationShelf(Shelf):
    """A shelf whose data sets have a validation split in the place of their test split."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, Any] = {}

    def data(self, name: str) -> Any:
        """Return the data set with a part of its training images held out for testing.

        Raises:
            InputError: it cannot be loaded, or has too few images.
        """
        if name not in self._held:
            self._held = {name: held_out(super().data(name))}
        return self._held[name]


class Trainer:
    """Trains recipes in run folders under ``out``."""

    def __init__(self, out: Path, shelf: ValidationShelf | None = None, *, progress: bool = False) -> None:
        self._shelf = shelf or ValidationShelf()
        self._out, self._progress = out, progress
        self._places = Places(out, self._shelf)

    def folder(self, recipe: Recipe) -> RunFolder:
        """Return the run folder of a trial.

        Raises:
            InputError: backbone or data are not on this machine.
        """
        return self._places.folder(recipe)

    def train(self, recipe: Recipe, epochs: int) -> list[Epoch]:
        """Return the metrics of each epoch up to ``epochs``; train what is missing, from where an earlier call stopped.

        The learning rate is that of a training to the recipe's end, so that a trial which reaches the end is the same
        training as one that was never stopped.

        Raises:
            InputError, RunError: as :func:`transfer.runs.run.run`.
        """
        there = _rows(self.folder(recipe))
        if len(there) < epochs:
            self._go_on(prepare(recipe, self._shelf), epochs)
            there = _rows(self.folder(recipe))
        return there[:epochs]

    def forget(self, recipe: Recipe) -> None:
        """Remove the weights of a trial that does not go on; its masks and metrics stay."""
        self.folder(recipe).clear()

    def _go_on(self, setup: Setup, epochs: int) -> None:
        folder = RunFolder(self._out, setup.recipe, setup.origin)

        def keep(history: History, best: bool) -> None:
            folder.write_lines(METRICS, history.epochs)

        with folder.opened(PATIENCE), log.copied(folder.file("log.txt")), precision_of(setup.accelerator):
            pruning, before = prune_model(setup, folder, self._progress)
            finetune(
                setup.model, pruning.masks, setup.loaders, setup.recipe.train,
                task=setup.task, accelerator=setup.accelerator, folder=folder.path, seed=setup.recipe.seed,
                history=before, until=epochs * len(setup.loaders.train), after_epoch=keep, progress=self._progress,
            )  # fmt: skip


def _rows(folder: RunFolder) -> list[Epoch]:
    path = folder.file(METRICS)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
