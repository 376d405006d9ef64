"""The file of a sweep, ``sweep.json``: what was asked for, the run folder of each cell, and which failed."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError
from checkpoints.files import read_json, write_json
from transfer.recipe import Recipe
from transfer.report.record import flat
from transfer.runs.folder import slug
from transfer.runs.grid import Grid
from transfer.sweeps.cells import Planned

NAME = "sweep.json"


def folder_of(recipe: Recipe, grid: Grid, out: Path, label: str | None) -> Path:
    """Return ``<out>/<recipe>-sweep-<label>``; without a label a hash of the recipe and the lists stands there.

    Raises:
        InputError: the label cannot be a folder's name.
    """
    if label is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label):
        raise InputError(f"label is {label!r}; give letters, digits, dots and dashes")
    content = json.dumps([recipe.decisive(), grid.to_dict()], sort_keys=True)
    return out / f"{slug(recipe.name)}-sweep-{label or hashlib.sha256(content.encode()).hexdigest()[:8]}"


def write(folder: Path, recipe: Recipe, grid: Grid, cells: Sequence[Planned]) -> None:
    """Write ``sweep.json``; without times, so that equal sweeps have equal files."""
    rows = [{"cell": str(each.cell), "run": each.run, "status": _status(each)} for each in cells]
    content = {
        "recipe": recipe.to_dict(),
        "grid": grid.to_dict(),
        "cells": rows,
        "runs": [each.run for each in cells],
        "failed": [{"run": each.run, "error": each.error} for each in cells if each.failed],
    }
    write_json(folder / NAME, content)


def changes(folder: Path, recipe: Recipe, grid: Grid) -> str:
    """Describe how the sweep differs from what an earlier start recorded in the folder; empty if it does not.

    Raises:
        InputError: the record is damaged.
    """
    if not (folder / NAME).exists():
        return ""
    was = read_json(folder / NAME)
    if not (isinstance(was, dict) and isinstance(was.get("grid"), dict) and isinstance(was.get("recipe"), dict)):
        raise InputError(f"{folder / NAME} is no record of a sweep; remove it, the runs are kept")
    old, new = flat(was["recipe"]), flat(recipe.to_dict())
    found = [
        f"{key} {old.get(key)} is now {new.get(key)}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)
    ]
    return "; ".join([*found, *_lists(was["grid"], grid.to_dict())])


def _lists(was: Mapping[str, Any], now: Mapping[str, list[Any]]) -> Iterator[str]:
    for name, values in now.items():
        old = was.get(name) or []
        signs = [f"+{each}" for each in values if each not in old] + [f"-{each}" for each in old if each not in values]
        if signs:
            yield f"{name} {' '.join(signs)}"


def _status(each: Planned) -> str:
    return "failed" if each.failed else "done" if each.state == "done" else "open"
