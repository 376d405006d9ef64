"""sweep(): run the cells of a grid that are not finished; a cell that fails does not stop the others."""

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from checkpoints.errors import InputError, one_line, out_of_memory
from transfer.recipe import Recipe
from transfer.runs import workers
from transfer.runs.cell import NAMED, Cell
from transfer.runs.grid import Grid
from transfer.runs.shelf import Shelf
from transfer.sweeps import record
from transfer.sweeps.cells import Planned, locate, obtain, open_, planned, try_
from transfer.sweeps.places import Places

_log = logging.getLogger(__name__)

Engine = Callable[[Sequence[Cell], Shelf], workers.Outcomes]
"""Runs cells and yields the number of each that has ended, with what became of it."""


@dataclass(frozen=True)
class Sweep:
    """The cells of a sweep after all of them have ended, and the folder with ``sweep.json``."""

    folder: Path
    cells: list[Planned]
    same: int
    """How many cells of the lists were the same as another one."""

    @property
    def failed(self) -> list[Planned]:
        """The cells that failed or could not run."""
        return [each for each in self.cells if each.error]


def local(number: int | None, *, progress: bool = False) -> Engine:
    """Return the engine of this machine: ``number`` cells at a time, None = as many as suit it.

    Raises:
        InputError: ``number`` is below 1.
    """
    workers.workers_for(number, 1)

    def run(cells: Sequence[Cell], shelf: Shelf) -> workers.Outcomes:
        several = workers.workers_for(number, len(cells))
        return workers.outcomes(cells, workers=several, shelf=shelf, progress=progress)

    return run


def sweep(
    recipe: Recipe, grid: Grid, *, out: Path = Path("runs"), label: str | None = None, engine: Engine | None = None
) -> Sweep:
    """Run every cell of the grid that is not finished, each in its own run folder; resume an interrupted sweep.

    Every backbone gets its dense model with each seed. Cells that are the same run are run once. What became of each
    cell is in ``sweep.json`` at any moment. Warns of what changed since an earlier start of the same label.

    Args:
        recipe: the recipe.
        grid: lists of what differs; an empty list stands for the recipe's own value.
        out: folder that holds the run folders and the sweep's.
        label: name of the sweep; None = a hash of recipe and lists.
        engine: where cells run; None = :func:`local` with as many workers as suit this machine.

    Raises:
        InputError: a setting is invalid, or no cell can run and none has finished; found before anything is written.
        OSError: the record cannot be written.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("a launcher started several processes; start a sweep once, with --workers or --engine ray")
    folder, shelf = record.folder_of(recipe, grid, out, label), Shelf()
    cells, same = planned(recipe, grid, out)
    changed = record.changes(folder, recipe, grid)
    if changed:
        warnings.warn(f"{folder.name} has changed since its last start: {changed}", stacklevel=2)
    prepare(cells, out, shelf)
    save = partial(record.write, folder, recipe, grid, cells)
    save()
    todo = open_(cells)
    if todo:
        with closing((engine or local(None))([each.cell for each in todo], shelf)) as ended:
            for number, outcome in ended:
                cell = todo[number]
                cell.error = _told(outcome) if isinstance(outcome, Exception) else None
                _log.info("%s: %s", cell.cell, f"failed: {cell.error}" if cell.error else "done")
                save()
    return Sweep(folder, cells, same)


def prepare(cells: Sequence[Planned], out: Path, shelf: Shelf) -> None:
    """Find the run folders, try what is open, and download what it needs.

    Raises:
        InputError: no cell can run, and none has finished.
    """
    places = Places(out, shelf)
    locate(cells, places)
    begun = open_(cells)
    try_(cells, shelf)
    obtain(cells, shelf)
    locate(cells, places)
    if all(each.error for each in cells):
        raise InputError(f"{cells[0].cell}: {cells[0].error}")
    for each in begun:
        if each.error:
            warnings.warn(f"{each.cell} cannot run: {each.error}", stacklevel=3)


def _told(error: Exception) -> str:
    """Return an error in one line; the traceback of a bug goes to stderr."""
    if isinstance(error, (*NAMED, OSError)) or out_of_memory(error):
        return one_line(str(error))
    text = "".join(traceback.format_exception(error)).strip()
    sys.stderr.write(f"{text}\n")
    return one_line(text.splitlines()[-1])
