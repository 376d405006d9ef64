"""sweep(): run the cells of a grid that are not finished; a cell that fails does not stop the others."""

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from checkpoints.errors import InputError, one_line, out_of_memory
from transfer.recipe import Recipe
from transfer.runs import workers
from transfer.runs.cell import NAMED, Cell
from transfer.runs.folder import Held, locked
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
        return [each for each in self.cells if each.failed]


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
    cell is in ``sweep.json`` at any moment. Warns of what changed since an earlier start of the same label. A cell that
    another process is running is tried once more after all others.

    Args:
        recipe: the recipe.
        grid: lists of what differs; an empty list stands for the recipe's own value.
        out: folder that holds the run folders and the sweep's.
        label: name of the sweep; None = a hash of recipe and lists.
        engine: where cells run; None = :func:`local` with as many workers as suit this machine.

    Raises:
        InputError: a setting is invalid, no cell can run and none has finished, or the same sweep is running already;
            found before anything is written.
        OSError: the record cannot be written.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("a launcher started several processes; start a sweep once, with --workers or --engine ray")
    folder, places = record.folder_of(recipe, grid, out, label), Places(out, Shelf())
    cells, same = planned(recipe, grid, out)
    with prepared(cells, folder, places):
        changed = record.changes(folder, recipe, grid)
        if changed:
            warnings.warn(f"{folder.name} has changed since its last start: {changed}", stacklevel=2)
        save = partial(record.write, folder, recipe, grid, cells)
        save()
        held = _run(open_(cells), engine or local(None), places, save)
        if held:
            _log.info("once more: %s, which other processes held", "; ".join(str(each.cell) for each in held))
            _run(held, engine or local(None), places, save)
    return Sweep(folder, cells, same)


def _run(todo: Sequence[Planned], engine: Engine, places: Places, save: Callable[[], None]) -> list[Planned]:
    """Run cells; return those that another process holds."""
    held: list[Planned] = []
    if not todo:
        return held
    with closing(engine([each.cell for each in todo], places.shelf)) as ended:
        for number, outcome in ended:
            cell = todo[number]
            cell.error = _told(outcome) if isinstance(outcome, Exception) else None
            locate([cell], places)
            held += [cell] * isinstance(outcome, Held)
            _log.info("%s: %s", cell.cell, f"failed: {cell.error}" if cell.failed else "done")
            save()
    return held


@contextmanager
def prepared(cells: Sequence[Planned], folder: Path, places: Places) -> Iterator[None]:
    """Do what :func:`prepare` does and hold the lock of the sweep's folder, which is made only if a cell can run.

    Raises:
        InputError: no cell can run and none has finished, or another process holds the lock.
    """
    with ExitStack() as stack:
        known = folder.exists()
        if known:
            stack.enter_context(locked(folder))
        prepare(cells, places)
        if not known:
            stack.enter_context(locked(folder))
        yield


def prepare(cells: Sequence[Planned], places: Places) -> None:
    """Find the run folders, try what is open, and download what it needs.

    Raises:
        InputError: no cell can run, and none has finished.
    """
    shelf = places.shelf
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
