"""The files of a search: ``search.json`` and ``search.csv`` at any moment, ``best.json`` at its end."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checkpoints.files import write_json, write_whole
from transfer.recipe import Recipe
from transfer.report.tables import csv_text
from transfer.runs.folder import slug
from transfer.search.plan import Plan
from transfer.search.study import Trial
from transfer.tasks import Metric

NAME, TABLE, BEST, PLOT = "search.json", "search.csv", "best.json", "search.png"


def folder_of(recipe: Recipe, out: Path) -> Path:
    """Return ``<out>/<recipe>-search-<hash of the recipe>``.

    Neither the budget nor the lists count, so that a search with others goes on from the trials that are there.
    """
    content = json.dumps(recipe.decisive(), sort_keys=True)
    return out / f"{slug(recipe.name)}-search-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def write(folder: Path, recipe: Recipe, plan: Plan, metric: Metric, trials: Sequence[Trial]) -> None:
    """Write ``search.json`` and ``search.csv``; without times, so that equal searches have equal files."""
    rows = [_row(trial, metric) for trial in trials]
    content = {
        "recipe": recipe.to_dict(),
        "metric": metric.name,
        "split": "validation",
        "rungs": [{"epochs": rung.epochs, "trials": rung.trials} for rung in plan.rungs],
        "epochs_planned": plan.cost,
        "epochs_spent": spent(trials),
        "trials": [
            row | {"values": [epoch[metric.name] for epoch in trial.epochs]}
            for row, trial in zip(rows, trials, strict=True)
        ],
    }
    write_json(folder / NAME, content)
    write_whole(folder / TABLE, csv_text(rows))


def spent(trials: Sequence[Trial]) -> int:
    """Return the epochs that the trials have been trained."""
    return sum(len(trial.epochs) for trial in trials)


def _row(trial: Trial, metric: Metric) -> dict[str, Any]:
    last = trial.epochs[-1] if trial.epochs else {}
    return {
        "method": trial.method, "allocation": trial.allocation, "rung": trial.rung, "epochs": len(trial.epochs),
        metric.name: last.get(metric.name), "loss": last.get("test_loss"), "state": trial.state, "error": trial.error,
    }  # fmt: skip
