"""Markdown tables of docs/ntk.md, of what ``compare_methods.py`` has measured.

    python scripts/ntk_tables.py benchmarks/ntk-digits.json --sparsity 0.982 --accuracies benchmarks/methods-digits.csv
    python scripts/ntk_tables.py benchmarks/ntk-digits.json --nearest

A way is METHOD or METHOD:STATISTICS; accuracies are those of the same method, statistics and rounds.
"""

import argparse
import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compare_methods import share

from checkpoints.files import read_json
from transfer.pruning import saliency
from transfer.report import tables

Row = Mapping[str, Any]
SHOWN = {
    "trace, own": "own_trace_kept", "outputs, own": "own_outputs_kept", "trace, stored": "trace_kept",
    "largest, stored": "largest_kept", "outputs, stored": "outputs_kept",
}  # fmt: skip
USUAL = {"epochs": "8", "allocation": "global", "options": "", "per_class": "10", "pruning_batch": "64"}


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="compare_methods.json")
    parser.add_argument("--sparsity", type=float, help="what each way keeps at this sparsity")
    parser.add_argument("--accuracies", type=Path, help="CSV of accuracy_grid.py: sort by its accuracies")
    parser.add_argument("--nearest", action="store_true", help="of each way, the one whose masks overlap most")
    asked = parser.parse_args()
    content = read_json(asked.file)
    if asked.nearest:
        print(nearest(content["overlaps"]), end="")
    else:
        rows = [row for row in content["rows"] if row["sparsity"] == asked.sparsity]
        print(kept(rows, accuracies(asked.accuracies, asked.sparsity) if asked.accuracies else {}), end="")


def kept(rows: Sequence[Row], found: Mapping[tuple[str, str, str], Sequence[float]]) -> str:
    """Return a line per way of pruning, the best accuracy first."""
    known = {row["method"]: found.get(key(row), ()) for row in rows}
    ordered = sorted(rows, key=lambda row: -statistics.fmean(known[row["method"]] or [-1.0]))
    lines = [
        (
            f"`{row['method']}`", str(row["rounds"]), *(share(row[name]) for name in SHOWN.values()),
            str(len(row["empty_layers"])), f"{row['dead_units']} of {row['units']}",
            *([accuracy(known[row["method"]])] if found else []),
        )
        for row in ordered
    ]  # fmt: skip
    columns = ("way", "rounds", *SHOWN, "empty layers", "dead units", *(["accuracy"] if found else []))
    return tables.markdown(columns, lines)


def key(row: Row) -> tuple[str, str, str]:
    """Return method, statistics and rounds as the CSV names them."""
    method, _, seen = row["method"].partition(":")
    return method, seen or saliency.statistics(method) or "", str(row["rounds"])


def accuracies(path: Path, sparsity: float) -> dict[tuple[str, str, str], list[float]]:
    """Return the accuracies of all seeds by method, statistics and rounds, of ways that are usual otherwise."""
    found: dict[tuple[str, str, str], list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            usual = all(row[name] == value for name, value in USUAL.items())
            if usual and not row["error"] and float(row["sparsity"]) == sparsity:
                name = (row["method"], row["statistics"], row["rounds"])
                found.setdefault(name, []).append(100 * float(row["accuracy"]))
    return found


def accuracy(values: Sequence[float]) -> str:
    """Return mean and standard deviation over seeds."""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}" if values else "-"


def nearest(overlaps: Mapping[str, Mapping[str, Any]]) -> str:
    """Return for each way the other one of highest overlap, in percent, and what chance would give."""
    names = next(iter(overlaps.values()))["names"]
    rows = [(f"`{name}`", *(_nearest(found, place) for found in overlaps.values())) for place, name in enumerate(names)]
    return tables.markdown(("way", *(f"nearest at {float(sparsity):.2%}" for sparsity in overlaps)), rows)


def _nearest(found: Mapping[str, Any], place: int) -> str:
    others = [other for other in range(len(found["names"])) if other != place]
    best = max(others, key=lambda other: found["found"][place][other])
    shares = (100 * found[kind][place][best] for kind in ("found", "expected"))
    return f"`{found['names'][best]}`: {{:.0f}} ({{:.0f}})".format(*shares)


if __name__ == "__main__":
    main()
