"""run(): prepare, prune, fine-tune and write the result; resumes an interrupted run."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from checkpoints.files import read_json
from transfer import log
from transfer.analysis.flops import multiply_adds
from transfer.distributed import from_main
from transfer.environment import environment
from transfer.precision import precision_of
from transfer.recipe import Recipe
from transfer.runs import tracking
from transfer.runs.conclude import conclude, described, layer_rows
from transfer.runs.folder import RunFolder, told
from transfer.runs.prepare import Setup, prepare
from transfer.runs.prune_model import prune_model
from transfer.runs.shelf import Shelf
from transfer.training import History, finetune
from transfer.training.checkpoint import save_weights
from transfer.training.evaluation import counted

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """A finished run: its folder and the content of its ``result.json``."""

    folder: Path
    metrics: dict[str, Any]
    finished: datetime | None = field(default=None, compare=False)
    """When an earlier start finished the run; None if this one did."""

    @property
    def earlier(self) -> str | None:
        """A note that an earlier start finished the run and how to run it again; None if this one did."""
        return told(self.finished, self.folder) if self.finished else None


def run(
    recipe: Recipe, *, out: str | Path = "runs", progress: bool = False, shelf: Shelf | None = None,
    track: str | None = None, patience: float = 0.0,
) -> Result:  # fmt: skip
    """Prune and fine-tune as the recipe says; return the result and store it under ``out``.

    The same recipe again resumes an interrupted run, or returns the result of a finished one.

    Args:
        recipe: the recipe to run.
        out: folder that holds the run folders.
        progress: show progress bars on a terminal.
        shelf: cache of backbone and data that several runs share.
        track: also log the metrics of each epoch to "tensorboard", "wandb", "trackio" or another tracker of accelerate.
        patience: seconds to wait for another process that still holds the run's folder, such as one that is saving.

    Raises:
        InputError: an invalid setting, detected before anything is written where possible.
        TrainingError, ScoreError: the run failed; what was finished is kept.
    """
    tracking.check(track)
    setup = prepare(recipe, shelf)
    recipe, accelerator, main = setup.recipe, setup.accelerator, setup.accelerator.is_main_process
    folder = RunFolder(Path(out), recipe, setup.origin)
    with ExitStack() as stack, precision_of(accelerator):
        from_main(lambda: stack.enter_context(folder.opened(patience)) and None, accelerator)
        earlier = from_main(lambda: _finished(folder), accelerator)
        if earlier is not None:
            return earlier
        stack.enter_context(log.copied(folder.file("log.txt"), here=main))
        stack.enter_context(tracking.tracked(track, accelerator, folder.path, recipe))
        _begin(setup, folder)

        pruning, before = prune_model(setup, folder, progress)

        def after_epoch(history: History, best: bool) -> None:
            _keep(setup, folder, history, best, pruning.seconds)
            tracking.log(track, accelerator, history)

        history = finetune(
            setup.model, pruning.masks, setup.loaders, recipe.train,
            task=setup.task, accelerator=accelerator, folder=folder.path, seed=recipe.seed, progress=progress,
            history=before, after_epoch=after_epoch, tightening=pruning.tightening,
        )  # fmt: skip
        pruning = pruning.ended(history, folder, main=main)
        if not history.epochs:  # epochs = 0: test the pruned model without training
            loss, history.counts = counted(setup.model, setup.loaders.test, task=setup.task, accelerator=accelerator)
            history.epochs.append({"epoch": 0, "test_loss": loss, **setup.task.metrics(history.counts)})
            if main:
                after_epoch(history, True)
        work = multiply_adds(setup.model, (3, recipe.data.size, recipe.data.size), pruning.masks)
        layers = layer_rows(setup, pruning.masks, work)
        metrics = described(setup, pruning, layers, work, history)
        if main:
            conclude(setup, folder, layers, history, metrics)
        accelerator.wait_for_everyone()
    return Result(folder.path, metrics)


def _begin(setup: Setup, folder: RunFolder) -> None:
    """Record the environment and log what runs on which device."""
    found = environment(setup.accelerator)
    if setup.accelerator.is_main_process:
        folder.write_json("environment.json", found)
    on = f"{found['processes']} process{'es' * (found['processes'] != 1)}, precision {found['precision']}"
    packages = ", ".join(f"{name} {found['versions'][name]}" for name in ("px-transfer", "torch", "timm", "accelerate"))
    _log.info("run %s", folder.path)
    device = " ".join(filter(None, [found["device"], found["device_name"]]))
    _log.info("on %s, %s; python %s, %s", device, on, found["python"], packages)
    _log.info("backbone %s (%s), weights %s", setup.recipe.backbone, setup.backbone.arch, setup.origin.backbone[:12])


def _finished(folder: RunFolder) -> Result | None:
    """Return the result of an earlier start; None if the run is unfinished."""
    when = folder.finished()
    if when is None:
        return None
    folder.clear()
    return Result(folder.path, read_json(folder.file("result.json")), when)


def _keep(setup: Setup, folder: RunFolder, history: History, best: bool, seconds: float) -> None:
    folder.write_lines("metrics.jsonl", history.epochs)
    folder.write_json("timing.json", {"prune_s": seconds, "epochs_s": history.seconds})
    if best:
        save_weights(setup.model, folder.file("best.safetensors"))
