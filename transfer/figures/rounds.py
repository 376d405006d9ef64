"""The task's metric and pruning time against the number of rounds (table 2 of Iurada et al. 2024)."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError
from checkpoints.files import check_folder, read_json
from transfer import tasks
from transfer.figures import files
from transfer.recipe import GMP, IMP, Recipe
from transfer.report import paper_plots
from transfer.runs.cell import Cell
from transfer.runs.combinations import recipes, unique
from transfer.runs.grid import Grid, check_lists
from transfer.runs.prepare import check, dry_run
from transfer.runs.run import Result
from transfer.runs.shelf import Shelf
from transfer.runs.workers import run_cells, workers_for
from transfer.tasks import Metric

NAME = "rounds"


def cells(recipe: Recipe, methods: Sequence[str], rounds: Sequence[int], seeds: Sequence[int]) -> list[Recipe]:
    """Return a recipe for each method, number of rounds and seed.

    Methods of one round by default have that one only; imp, whose rounds are trainings, has its own number.

    Raises:
        InputError: a list is empty or repeats a value, or a recipe cannot be run.
    """
    check_lists(methods=methods, rounds=rounds, seeds=seeds)
    if not recipe.prune.sparsity:
        raise InputError("prune.sparsity is 0; give a fraction removed, above 0 and below 1")
    if GMP in methods:
        raise InputError(f"methods are {list(methods)}; {GMP} prunes while it fine-tunes, so that it has no such times")
    found = [cell for method in methods for cell in _of_method(recipe, method, rounds, seeds)]
    for cell in found:
        check(cell)
    return unique(found)


def _of_method(recipe: Recipe, method: str, rounds: Sequence[int], seeds: Sequence[int]) -> Iterator[Recipe]:
    grid = Grid((method,), (recipe.prune.sparsity,), seeds=tuple(seeds))
    for count in (None,) if method == IMP else rounds:
        asked = replace(recipe, prune=replace(recipe.prune, rounds=count))
        yield from (cell for cell in recipes(asked, grid) if not cell.prune.dense)


def of_methods(
    recipe: Recipe, methods: Sequence[str], *, rounds: Sequence[int], seeds: Sequence[int], runs: Path, out: Path,
    workers: int | None = 1,
) -> tuple[list[dict[str, Any]], Metric]:  # fmt: skip
    """Run every cell in a run folder under ``runs``, resumed or skipped if it is there; return a row per cell's seeds.

    Returns:
        The rows, and the metric of their values.

    Seconds are those of the pruning, first pass included, as each run has measured them: compare them only if all runs
    had the machine to themselves (``workers`` 1).

    Raises:
        InputError: a setting cannot be used; found before anything runs where possible.
        InputError, RunError, torch.OutOfMemoryError, OSError: a cell failed; the others are kept.
    """
    check_folder(out)
    todo, shelf = cells(recipe, methods, rounds, seeds), Shelf()
    for first in {cell.prune.method: cell for cell in todo}.values():
        dry_run(first, shelf)
    named = [Cell(cell, runs) for cell in todo]
    results = run_cells(named, workers=workers_for(workers, len(named)), shelf=shelf, progress=True)
    groups = [slice(first, first + len(seeds)) for first in range(0, len(todo), len(seeds))]
    rows = [_row(todo[group][0], results[group]) for group in groups]
    metric = tasks.find(results[0].metrics["task"]).headline
    about = {
        "recipe": recipe.to_dict(),
        "seeds": list(seeds),
        "metric": metric.name,
        "runs": [result.folder.name for result in results],
    }
    flat = [{key: value for key, value in row.items() if key != "values"} for row in rows]
    content = {"settings": about, "rows": rows}
    files.write(out, NAME, content, flat)
    draw(content, metric, out / f"{NAME}.png")
    return rows, metric


def draw(content: Mapping[str, Any], metric: Metric, path: Path) -> None:
    """Draw what NAME.json holds, of runs with this metric."""
    recipe, seeds = content["settings"]["recipe"], content["settings"]["seeds"]
    what = f"{recipe['backbone']} on {recipe['data']['name']}, {recipe['prune']['sparsity']:.2%} removed"
    paper_plots.rounds(content["rows"], metric, path, title=f"{what}, {len(seeds)} seeds")


def columns(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the titles of :func:`table`."""
    return ("method", *(f"T = {count}" for count in _counts(rows)))


def table(rows: Sequence[dict[str, Any]], metric: Metric) -> list[tuple[str, ...]]:
    """Return a line per method as text: the metric, and seconds, for each number of rounds."""
    methods = dict.fromkeys(row["method"] for row in rows)
    by_cell = {(row["method"], row["rounds"]): _text(row, metric) for row in rows}
    return [(method, *(by_cell.get((method, count), "") for count in _counts(rows))) for method in methods]


def _counts(rows: Sequence[dict[str, Any]]) -> list[int]:
    return sorted({row["rounds"] for row in rows})


def _text(row: dict[str, Any], metric: Metric) -> str:
    return f"{metric.text(row['mean'], row['std'])}, {row['seconds']:.2f} s"


def _row(recipe: Recipe, results: Sequence[Result]) -> dict[str, Any]:
    values = [result.metrics[result.metrics["headline"]] for result in results]
    seconds = [read_json(result.folder / "timing.json")["prune_s"] for result in results]
    return {
        "method": recipe.prune.method,
        "rounds": results[0].metrics["rounds"],
        "sparsity": results[0].metrics["sparsity"],
        "values": values,
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "seconds": statistics.fmean(seconds),
    }
