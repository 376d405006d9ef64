"""One shell command per unfinished cell, for the job array of a cluster."""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from checkpoints.files import write_json
from transfer import plugins
from transfer.recipe import Recipe
from transfer.runs.grid import Grid
from transfer.runs.shelf import Shelf
from transfer.sweeps import record
from transfer.sweeps.cells import open_, planned
from transfer.sweeps.places import Places
from transfer.sweeps.sweep import prepared


def commands(recipe: Recipe, grid: Grid, *, out: Path, label: str | None = None) -> Iterator[str]:
    """Write the recipe of each open cell and ``sweep.json`` into the sweep's folder; yield a command per cell.

    Backbone and data are downloaded here, so that the jobs do not all do it.

    Raises:
        InputError: a setting is invalid, no cell can run, or the same sweep is running.
    """
    folder, (cells, _) = record.folder_of(recipe, grid, out, label), planned(recipe, grid, out)
    with prepared(cells, folder, Places(out, Shelf())):
        record.write(folder, recipe, grid, cells)
        for each in open_(cells):
            file = folder / "cells" / f"{each.run}.json"
            write_json(file, each.cell.recipe.to_dict())
            yield command(file, out)


def command(file: Path, out: Path) -> str:
    """Return the command that runs the recipe in a file, from this folder: relative paths keep their meaning."""
    return shlex.join(["env", "-C", os.getcwd(), *words(file.absolute(), out.absolute())])


def words(file: Path, out: Path, launcher: tuple[str, ...] = ()) -> list[str]:
    """Return the words of that command; ``launcher``: what starts its processes, such as that of torchrun."""
    modules = [word for name in plugins.imported for word in ("--import", name)]
    return [sys.executable, *launcher, "-m", "transfer", *modules, "run", str(file), "--out", str(out)]
