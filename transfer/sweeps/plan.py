"""The plan of a sweep (``--dry-run``): its cells, what is there, what would be downloaded, and the time it takes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from transfer.data import Outlook
from transfer.log import duration
from transfer.recipe import Recipe
from transfer.runs.cell import Cell
from transfer.runs.grid import Grid
from transfer.runs.prepare import Setup, dry_run
from transfer.runs.shelf import Shelf
from transfer.sweeps import estimate
from transfer.sweeps.cells import Planned, locate, open_, planned, try_
from transfer.sweeps.places import Places

COLUMNS = ("cell", "state", "about", "run folder")


def plan(recipe: Recipe, grid: Grid, out: Path) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the rows of a table with :data:`COLUMNS`, and lines to print below it; download nothing.

    Raises:
        InputError: a setting is invalid.
    """
    shelf = Shelf()
    cells, same = planned(recipe, grid, out)
    locate(cells, Places(out, shelf))
    absent = try_(cells, shelf)
    times = dict(_times(cells, shelf))
    rows: list[tuple[str, ...]] = [
        (str(each.cell), _state(each), _about(times, each), each.run if each.folder else "-") for each in cells
    ]
    return rows, [*_counts(cells, same), *(f"absent: {line}" for line in absent), *_refused(cells), *_sum(cells, times)]


def _times(cells: Sequence[Planned], shelf: Shelf) -> Iterator[tuple[Cell, float | None]]:
    """Yield the seconds of each open cell; None where the images are not there to be counted."""
    costs: dict[str, tuple[estimate.Costs, Setup]] = {}
    todo = open_(cells)
    for each in todo:
        backbone = each.cell.recipe.backbone
        if backbone not in costs:
            alike = [other.cell.recipe for other in todo if other.cell.recipe.backbone == backbone]
            setup, _ = dry_run(next(filter(estimate.scored, alike), alike[0]), shelf)
            costs[backbone] = estimate.measured(setup), setup
        yield each.cell, _seconds(each.cell.recipe, *costs[backbone])


def _seconds(recipe: Recipe, costs: estimate.Costs, setup: Setup) -> float | None:
    data = setup.dataset
    if isinstance(data, Outlook):
        return None
    return estimate.seconds(
        recipe.resolved(), costs, train=len(data.train), test=len(data.test), classes=len(data.classes),
        per_class="prune.per_class" in setup.task.settings,
    )  # fmt: skip


def _state(each: Planned) -> str:
    return "cannot run" if each.error else each.state


def _about(times: dict[Cell, float | None], each: Planned) -> str:
    found = times.get(each.cell)
    return "-" if found is None else duration(found)


def _counts(cells: Sequence[Planned], same: int) -> list[str]:
    states = Counter(_state(each) for each in cells)
    lines = [f"{len(cells)} cells: " + ", ".join(f"{count} {state}" for state, count in states.items())]
    return lines + ([told_same(same)] if same else [])


def told_same(count: int) -> str:
    """Return a line on cells that are the same run as others."""
    return f"{count} more {'is' if count == 1 else 'are'} the same run as one of these, and left out"


def _refused(cells: Sequence[Planned]) -> list[str]:
    return [f"{each.cell} cannot run: {each.error}" for each in cells if each.error]


def _sum(cells: Sequence[Planned], times: dict[Cell, float | None]) -> list[str]:
    if not times:
        return []
    known = [each for each in times.values() if each is not None]
    if not known:
        return ["time: unknown until the data are here, whose images a cell walks over"]
    begun = " (what begun cells have done already is not taken off)" * any(each.state == "begun" for each in cells)
    return [f"time: about {duration(sum(known))} for all that is open, one cell after another on this machine{begun}"]
