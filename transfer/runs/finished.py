"""Load a finished run and evaluate it again."""

import warnings
from pathlib import Path
from typing import Any

from torch import nn

from checkpoints.errors import InputError
from checkpoints.files import read_json
from transfer.data import identity
from transfer.recipe import Recipe
from transfer.runs import predictor
from transfer.runs.prepare import Setup, prepare
from transfer.training.checkpoint import load_weights
from transfer.training.evaluation import counted


def load_run(folder: Path, *, which: str = "last") -> tuple[Setup, nn.Module]:
    """Return the setup of a finished run and its model with the trained weights.

    Warns if the test images differ from the run's.

    Args:
        folder: the run's folder.
        which: weights of the "last" or the "best" epoch.

    Raises:
        InputError: the run is not finished, its weights are damaged, or the data set now has other classes.
    """
    setup = prepare(Recipe.from_dict(read_json(folder / "recipe.json")))
    _check_data(folder, setup)
    load_weights(setup.model, folder / predictor.WEIGHTS[which])
    return setup, setup.model


def evaluate_run(folder: Path, *, which: str = "last") -> dict[str, Any]:
    """Test a finished run again; return loss, metrics, the settings that they depend on, and a row per class.

    Raises:
        InputError: as :func:`load_run`.
    """
    setup, model = load_run(folder, which=which)
    loss, counts = counted(model, setup.loaders.test, task=setup.task, accelerator=setup.accelerator)
    rows = setup.task.table(counts)
    found = {"loss": loss, **setup.task.metrics(counts), **setup.task.facts(setup.dataset, setup.recipe)}
    return found | ({"classes": rows} if rows else {})


def _check_data(folder: Path, setup: Setup) -> None:
    """Raise InputError if the classes differ from the run's; warn if the test images do."""
    classes = read_json(folder / predictor.NAME).get("classes", [])
    other = identity.class_difference(classes, setup.dataset.classes)
    if other:
        raise InputError(
            f"{setup.recipe.data.name} has other classes than the run in {folder} was trained on ({other}); give it "
            "the data of the run, or run the recipe again"
        )
    if (folder / "origin.json").exists():
        was, now = read_json(folder / "origin.json")["data"], identity.fingerprint(setup.dataset)
        changed = identity.difference({**now, "test": was["test"]}, now)
        if changed:
            warnings.warn(f"the images are not those that the run was tested on: {changed}", stacklevel=3)
