"""The cells of a sweep: which runs, what people call them, where they lie, and which cannot run."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from checkpoints.errors import InputError
from transfer.recipe import Recipe
from transfer.runs.cell import Cell
from transfer.runs.combinations import recipes, unique
from transfer.runs.folder import RunFolder, name_without_hash
from transfer.runs.grid import Grid
from transfer.runs.naming import pruning
from transfer.runs.prepare import check, dry_run, prepare
from transfer.runs.shelf import Shelf, alike
from transfer.sweeps.places import Places, State, state


@dataclass
class Planned:
    """A cell, its run folder (None: not known before downloads), and why it cannot run (None: nothing is known)."""

    cell: Cell
    folder: RunFolder | None = None
    error: str | None = None

    @property
    def state(self) -> State:
        """What an earlier start has left."""
        return state(self.folder) if self.folder else "new"

    @property
    def failed(self) -> bool:
        """Whether it could not run, and no other process has finished it meanwhile."""
        return self.error is not None and self.state != "done"

    @property
    def run(self) -> str:
        """Name of the run folder; without its hash if the backbone or the data are not there."""
        return self.folder.path.name if self.folder else name_without_hash(self.cell.recipe.resolved())


def planned(recipe: Recipe, grid: Grid, out: Path) -> tuple[list[Planned], int]:
    """Return the cells of a grid, and how many more were the same as one of them.

    Raises:
        InputError: a setting is invalid, in a line that names the cell.
    """
    asked, called = recipes(recipe, grid), naming(grid)
    for each in asked:
        try:
            check(each)
        except InputError as error:
            raise InputError(f"{called(each)}: {error}") from error
    found = unique(asked)
    return [Planned(Cell(each, out, called(each))) for each in found], len(asked) - len(found)


def naming(grid: Grid) -> Callable[[Recipe], str]:
    """Return a function that names a cell by its pruning, its seed, and whatever else the grid varies."""

    def name(recipe: Recipe) -> str:
        prune = recipe.prune
        what = [*[recipe.backbone] * (len(grid.backbones) > 1), pruning(recipe)]
        if len(grid.allocations) > 1 and prune.sparsity:
            what.append(f"allocation {prune.allocation}")
        if len(grid.statistics) > 1 and prune.sparsity and prune.statistics:
            what.append(f"statistics {prune.statistics}")
        return ", ".join([*what, f"seed {recipe.seed}"])

    return name


def locate(cells: Iterable[Planned], places: Places) -> None:
    """Find the run folders whose backbone and data are on this machine."""
    for each in cells:
        if each.folder is None:
            with suppress(InputError):
                each.folder = places.folder(each.cell.recipe)


def try_(cells: Sequence[Planned], shelf: Shelf) -> dict[str, None]:
    """Try one of all cells that are alike on images of noise; note the error of those that cannot run.

    Returns what a run would download, in lines.
    """
    absent: dict[str, None] = {}
    for group in _groups(cells, alike):
        hardest = max(group, key=lambda each: each.cell.recipe.prune.sparsity)
        try:
            absent |= dict.fromkeys(dry_run(hardest.cell.recipe, shelf)[1].values())
        except InputError as error:
            _refuse(group, error)
    return absent


def obtain(cells: Sequence[Planned], shelf: Shelf) -> None:
    """Download what cells need, before several processes do; note the error of those for which it cannot be had."""
    for group in _groups(cells, lambda recipe: recipe.backbone):
        try:
            prepare(group[0].cell.recipe, shelf)
        except InputError as error:
            _refuse(group, error)


def open_(cells: Iterable[Planned]) -> list[Planned]:
    """Return the cells that may run and have not finished."""
    return [each for each in cells if each.error is None and each.state != "done"]


def _groups(cells: Iterable[Planned], key: Callable[[Recipe], str]) -> list[list[Planned]]:
    groups: dict[str, list[Planned]] = {}
    for each in open_(cells):
        groups.setdefault(key(each.cell.recipe), []).append(each)
    return list(groups.values())


def _refuse(group: Iterable[Planned], error: InputError) -> None:
    for each in group:
        each.error = str(error)
