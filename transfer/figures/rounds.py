"""Accuracy and pruning time against the number of rounds (table 2 of Iurada et al. 2024)."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError
from transfer.figures import files
from transfer.pruning import default_rounds
from transfer.recipe import Recipe
from transfer.report import paper_plots
from transfer.runs.cell import Cell
from transfer.runs.folder import read_json
from transfer.runs.prepare import check, dry_run
from transfer.runs.run import Result
from transfer.runs.shelf import Shelf
from transfer.runs.workers import run_cells, workers_for

NAME = "rounds"


def cells(recipe: Recipe, methods: Sequence[str], rounds: Sequence[int], seeds: Sequence[int]) -> list[Recipe]:
    """Return a recipe for each method, number of rounds and seed; methods of one round by default have that one only.

    Raises:
        InputError: a list is empty or repeats a value, or a recipe cannot be run.
    """
    for name, values in (("methods", methods), ("rounds", rounds), ("seeds", seeds)):
        if not values or len(set(values)) != len(values):
            raise InputError(f"{name} are {list(values)}; give one or more, each once")
    found = []
    for method in methods:
        for count in rounds if default_rounds(method) > 1 else (1,):
            prune = replace(recipe.prune, method=method, rounds=count)
            found += [replace(recipe, prune=prune, seed=seed) for seed in seeds]
    if not recipe.prune.sparsity:
        raise InputError("prune.sparsity is 0; give a fraction removed, above 0 and below 1")
    for cell in found:
        check(cell)
    return found


def of_methods(
    recipe: Recipe, methods: Sequence[str], *, rounds: Sequence[int], seeds: Sequence[int], runs: Path, out: Path,
    workers: int | None = 1,
) -> list[dict[str, Any]]:  # fmt: skip
    """Run every cell in a run folder under ``runs``, resumed or skipped if it is there; return a row per cell's seeds.

    Seconds are those of the pruning, first pass included, as each run has measured them: compare them only if all runs
    had the machine to themselves (``workers`` 1).

    Raises:
        InputError: a setting cannot be used; found before anything runs where possible.
        InputError, RunError, torch.OutOfMemoryError, OSError: a cell failed; the others are kept.
    """
    files.check_folder(out)
    todo, shelf = cells(recipe, methods, rounds, seeds), Shelf()
    for first in {cell.prune.method: cell for cell in todo}.values():
        dry_run(first, shelf)
    named = [Cell(cell, runs) for cell in todo]
    results = run_cells(named, workers=workers_for(workers, len(named)), shelf=shelf, progress=True)
    groups = [slice(first, first + len(seeds)) for first in range(0, len(todo), len(seeds))]
    rows = [_row(todo[group][0], results[group]) for group in groups]
    about = {"recipe": recipe.to_dict(), "seeds": list(seeds), "runs": [result.folder.name for result in results]}
    flat = [{key: value for key, value in row.items() if key != "values"} for row in rows]
    files.write(out, NAME, {"settings": about, "rows": rows}, flat)
    title = f"{recipe.backbone} on {recipe.data.name}, {recipe.prune.sparsity:.2%} removed, {len(seeds)} seeds"
    paper_plots.rounds(rows, out / f"{NAME}.png", title=title)
    return rows


def columns(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the titles of :func:`table`."""
    return ("method", *(f"T = {count}" for count in _counts(rows)))


def table(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return a line per method as text: accuracy in percent, and seconds, for each number of rounds."""
    methods = dict.fromkeys(row["method"] for row in rows)
    by_cell = {(row["method"], row["rounds"]): _text(row) for row in rows}
    return [(method, *(by_cell.get((method, count), "") for count in _counts(rows))) for method in methods]


def _counts(rows: Sequence[dict[str, Any]]) -> list[int]:
    return sorted({row["rounds"] for row in rows})


def _text(row: dict[str, Any]) -> str:
    spread = f" ± {100 * row['std']:.2f}" if row["std"] is not None else ""
    return f"{100 * row['mean']:.2f}{spread}, {row['seconds']:.2f} s"


def _row(recipe: Recipe, results: Sequence[Result]) -> dict[str, Any]:
    values = [result.metrics[result.metrics["headline"]] for result in results]
    seconds = [read_json(result.folder / "timing.json")["prune_s"] for result in results]
    return {
        "method": recipe.prune.method,
        "rounds": recipe.prune.rounds,
        "sparsity": results[0].metrics["sparsity"],
        "values": values,
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "seconds": statistics.fmean(seconds),
    }
