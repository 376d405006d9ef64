"""Markdown table of the NAME.json that a command wrote: `transfer figure NAME`, `transfer probe`, `transfer search`.

    python scripts/command_tables.py benchmarks/figures/bounds-seed0.json
    python scripts/command_tables.py benchmarks/probes               # a folder of such files: mean ± std over seeds
    python scripts/command_tables.py benchmarks/search-digits.json --accuracies benchmarks

Of `dynamics`, whose rows are in its picture, the fits. Accuracies are of accuracy_grid.py: what a method reaches
on digits when trained fully, beside what it had in the search.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grid_found import accuracies, csv_name, mean, spread

from checkpoints.files import read_json
from transfer import data, tasks
from transfer.analysis.heads import HEADS
from transfer.figures import bounds, dynamics, rounds, spectrum, units
from transfer.report import tables
from transfer.runs import probe

FIGURES = {figure.NAME: figure for figure in (spectrum, bounds, units, rounds, dynamics)}
NAMES = (*FIGURES, probe.NAME, "search")


def main() -> None:
    """Print the table of what a command wrote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help=f"NAME.json or NAME-….json, NAME one of {', '.join(NAMES)}")
    parser.add_argument("--accuracies", type=Path, help="folder of accuracy_grid.py's CSV of digits, for a search")
    asked = parser.parse_args()
    paths = [path for given in asked.files for path in (sorted(given.glob("*.json")) if given.is_dir() else [given])]
    names = {path.stem.partition("-")[0] for path in paths}
    if len(names) != 1 or not names <= set(NAMES):
        parser.exit(
            2,
            f"files are of {', '.join(sorted(names)) or 'nothing'}; give files named after one of {', '.join(NAMES)}\n",
        )
    name, contents = names.pop(), [read_json(path) for path in paths]
    if name == probe.NAME:
        print(probes(contents), end="")
    elif len(contents) > 1:
        parser.exit(2, f"{len(contents)} files of {name}; give one\n")
    elif name == "search":
        print(search(contents[0], asked.accuracies), end="")
    else:
        print(figure(name, contents[0]), end="")


def figure(name: str, content: Mapping[str, Any]) -> str:
    """Return the rows of a figure as its command shows them."""
    rows = content["rows"]
    if name == rounds.NAME:
        return tables.markdown(rounds.columns(rows), rounds.table(rows, headline(content["settings"]["recipe"])))
    if name == dynamics.NAME:
        names = {"a": "a", "rate": "rate", "r2": "R²"}
        fits = [(of, *(f"{fit[key]:.3g}" for key in names)) for of, fit in content["fits"].items()]
        return tables.markdown(("", *names.values()), fits)
    return tables.markdown(FIGURES[name].COLUMNS, FIGURES[name].table(rows))


def headline(recipe: Mapping[str, Any]) -> tasks.Metric:
    """Return the metric of a recipe in JSON."""
    return tasks.find(data.task(recipe["data"]["name"])).headline


def search(content: Mapping[str, Any], grid: Path | None) -> str:
    """Return the trials of a search, the best first: the metric after the warm-up and at each rung, in percent.

    With a folder of CSVs also the mean of the method on digits when trained fully, in brackets over how many seeds.
    """
    prune, train = content["recipe"]["prune"], content["recipe"]["train"]
    epochs = sorted({train["warmup"], *(rung["epochs"] for rung in content["rungs"])} - {0})
    titles = ["method", *(f"epoch {epoch}" for epoch in epochs)]
    rows = []
    for trial in content["trials"]:
        values = trial["values"]
        rows.append([trial["method"], *(f"{100 * values[e - 1]:.1f}" if e <= len(values) else "" for e in epochs)])
    if grid:
        titles.append("trained fully")
        known = accuracies(grid, prune["sparsity"])
        for row in rows:
            fully = known.get(csv_name(row[0], None, prune["rounds"]), [])
            row.append(f"{100 * mean(fully):.1f} ({len(fully)})" if fully else "")
    return tables.markdown(titles, rows)


def probes(contents: Sequence[Mapping[str, Any]]) -> str:
    """Return the accuracy of each head by data set, method and backbone, in percent: mean and deviation over seeds."""
    found: dict[tuple[str, str, str], dict[int, Mapping[str, float]]] = {}
    for content in contents:
        about = content["settings"]
        for row in content["rows"]:
            method = "" if row["backbone"] == "dense" else about["method"]
            seen = " (seen)" if row["seen"] else ""
            found.setdefault((row["data"] + seen, method, row["backbone"]), {})[about["seed"]] = row
    rows = [
        (*name, *(spread([row[head] for row in by_seed.values()]) for head in HEADS))
        for name, by_seed in sorted(found.items(), key=lambda item: item[0][0])
    ]
    return tables.markdown(("data", "method", "backbone", *HEADS), rows)


if __name__ == "__main__":
    main()
