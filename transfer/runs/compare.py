"""compare(): one recipe under several methods, sparsities and seeds, as a table and a plot."""

import hashlib
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkpoints.files import write_json, write_whole
from transfer.environment import main_process
from transfer.pruning.patterns import NONE
from transfer.recipe import Recipe
from transfer.report import plots, tables
from transfer.report.advice import advice
from transfer.runs import predictor
from transfer.runs.cell import Cell
from transfer.runs.combinations import recipes
from transfer.runs.folder import slug
from transfer.runs.grid import Grid, check_lists
from transfer.runs.prepare import check, dry_run, prepare
from transfer.runs.run import Result
from transfer.runs.shelf import Shelf
from transfer.runs.workers import run_cells, workers_for
from transfer.tasks import Task


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison: one row per method and sparsity, and the folder with the table and the plot.

    Rows have the keys method, pattern, ablate, sparsity, kept, empty, values (the task's headline metric, one value per
    seed), mean and std. ``data`` describes the training and test data. ``results`` lists the runs, all seeds
    of a row in succession.
    """

    folder: Path
    task: type[Task]
    data: str
    rows: list[dict[str, Any]]
    results: list[Result]
    advice: str | None
    """The best method at the highest sparsity, and a command for your own images; None if nothing was pruned."""

    @property
    def earlier(self) -> str | None:
        """A line about the runs that an earlier start finished; None if there are none."""
        old = [result for result in self.results if result.finished]
        if not old:
            return None
        last = max(result.finished for result in old if result.finished)
        return (
            f"{len(old)} of {len(self.results)} runs were finished before, the last on {last:%Y-%m-%d at %H:%M}; "
            f"to run one again remove its folder: {', '.join(str(result.folder) for result in old[:3])}"
            + (f" and {len(old) - 3} more" if len(old) > 3 else "")
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Column titles of :attr:`lines`."""
        return ("method", "sparsity", "weights kept", self.task.headline.name, "empty layers")

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The rows as text; the metric is mean ± standard deviation over the seeds."""
        return [
            (
                " ".join([row["method"], *filter(None, (row["pattern"].replace(NONE, ""), row["ablate"]))]),
                f"{row['sparsity']:.2%}",
                f"{row['kept']:,}",
                self.task.headline.text(row["mean"], row["std"] if len(row["values"]) > 1 else None),
                _some(row["empty"]),
            )
            for row in self.rows
        ]


def cells(recipe: Recipe, methods: Sequence[str], sparsities: Sequence[float], seeds: Sequence[int]) -> list[Recipe]:
    """Return the recipes of a comparison: the dense model, then every method at every sparsity, each with all seeds.

    Raises:
        InputError: a list is empty, repeats a value or names the method keep, or a recipe is invalid.
    """
    check_lists(methods=methods, sparsities=sparsities, seeds=seeds)
    found = recipes(recipe, Grid(tuple(methods), tuple(sparsities), seeds=tuple(seeds)))
    for cell in found:
        check(cell)
    return found


def compare(
    recipe: Recipe, *, methods: Sequence[str], sparsities: Sequence[float], seeds: Sequence[int],
    out: Path = Path("runs"), workers: int | None = 1, progress: bool = False,
) -> Comparison:  # fmt: skip
    """Run every cell in its own run folder, with the same settings for all; resume an interrupted comparison.

    ``workers`` cells run at a time, in processes that share the threads; None = as many as suit the machine. A script
    that uses more than one needs ``if __name__ == "__main__":``, because the processes import it.

    Raises:
        InputError: an invalid setting, detected before anything is written where possible.
        InputError, RunError, torch.OutOfMemoryError, OSError: a cell failed; names it and keeps the others.
    """
    todo = cells(recipe, methods, sparsities, seeds)
    number, shelf = workers_for(workers, len(todo)), Shelf()
    *others, last = {cell.prune.method: cell for cell in todo}.values()  # one cell per method
    for recipe_ in others:
        dry_run(recipe_, shelf)
    setup = prepare(last, shelf)
    named = [Cell(each, out) for each in todo]
    results = run_cells(named, workers=number, shelf=shelf, progress=progress and main_process())
    rows = [_row([r.metrics for r in results[i : i + len(seeds)]]) for i in range(0, len(results), len(seeds))]
    task, metrics = setup.task, results[0].metrics
    data, folder = task.data_line(metrics), _folder(recipe, results, out)
    found = Comparison(folder, type(task), data, rows, results, advice(rows, type(task), todo))
    if not main_process():
        return found
    runs = [result.folder.name for result in results]
    write_json(folder / "comparison.json", {"data": data, "rows": rows, "runs": runs})
    write_whole(folder / "comparison.md", f"{data}\n\n{tables.markdown(found.columns, found.lines)}")
    spread = f"mean ± std over {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
    title = f"{textwrap.fill(data, 72)}\n{recipe.backbone}, {recipe.train.epochs} epochs, {spread}"
    plots.comparison(rows, task.headline, folder / "comparison.png", title=title)
    if task.pictured:
        firsts = results[:: len(seeds)]  # the first seed of each row
        shown = [r for r in firsts if r.metrics["sparsity_asked"] in (0.0, max(sparsities))]
        predictors = {_title(result): predictor.load(result.folder) for result in shown}
        task.pictures(setup.dataset, predictors, folder / "predictions.png")
    return found


def _folder(recipe: Recipe, results: Sequence[Result], out: Path) -> Path:
    names = "\n".join(sorted(result.folder.name for result in results))
    return out / f"{slug(recipe.name)}-comparison-{hashlib.sha256(names.encode()).hexdigest()[:8]}"


def _title(result: Result) -> str:
    m = result.metrics
    return f"{m['method']} {m['sparsity']:.1%}".removesuffix(" 0.0%")


def _some(names: Sequence[str], most: int = 2) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "none"


def _row(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    values = [run[run["headline"]] for run in runs]
    empty = sorted({layer for run in runs for layer in run.get("empty_layers", [])})
    return {
        "method": runs[0]["method"],
        "pattern": runs[0].get("pattern", NONE),
        "ablate": runs[0].get("ablate"),
        "sparsity": runs[0]["sparsity"],
        "kept": runs[0]["kept"],
        "multiply_adds": statistics.fmean(run["multiply_adds"]["kept"] for run in runs),
        "values": values,
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "empty": empty,
    }
