"""Experiment trackers (TensorBoard, Weights & Biases, trackio ...) through accelerate."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers

from checkpoints.errors import InputError, near
from transfer.recipe import Recipe
from transfer.report.record import flat
from transfer.training import History


@contextmanager
def tracked(name: str | None, accelerator: Accelerator, folder: Path, recipe: Recipe) -> Iterator[None]:
    """Open a tracker that :func:`check` allows for a run; it writes its files, if any, into ``folder``. None = none."""
    if name is None:
        yield
        return
    accelerator.project_configuration.logging_dir = str(folder)
    accelerator.log_with = filter_trackers([name], str(folder))
    named = {"wandb": {"name": folder.name}, "trackio": {"name": folder.name}}
    accelerator.init_trackers(recipe.name, config=_flat(recipe), init_kwargs=named)
    try:
        yield
    finally:
        if accelerator.is_main_process:  # accelerate's end_training() would also destroy the process group
            for tracker in accelerator.trackers:
                tracker.finish()
        accelerator.trackers = []


def check(name: str | None) -> None:
    """Check that a tracker can be used.

    Raises:
        InputError: the tracker is unknown or its package is not installed.
    """
    if name is None:
        return
    if name not in LOGGER_TYPE_TO_CLASS:
        raise InputError(f"tracker {name!r} is unknown; {near(name, list(LOGGER_TYPE_TO_CLASS))}")
    if not filter_trackers([name], "."):
        raise InputError(f"tracker {name} is not installed; pip install 'px-transfer[trackers]', or pip install {name}")


def log(name: str | None, accelerator: Accelerator, history: History) -> None:
    """Send the last epoch's metrics to the tracker."""
    if name is not None:
        row = dict(history.last)
        accelerator.log(row, step=int(row.pop("epoch")))


def _flat(recipe: Recipe) -> dict[str, int | float | str | bool]:
    """Return the recipe's settings by dotted path, as types that every tracker accepts."""
    plain = (int, float, str, bool)
    return {name: v if isinstance(v, plain) else json.dumps(v) for name, v in flat(recipe.to_dict()).items()}
