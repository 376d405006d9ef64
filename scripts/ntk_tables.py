"""Markdown tables of docs/ntk.md, of what ``compare_methods.py`` has measured.

    python scripts/ntk_tables.py benchmarks/ntk-digits.json --sparsity 0.982 --accuracies benchmarks
    python scripts/ntk_tables.py benchmarks/ntk-digits.json --nearest

A way is METHOD or METHOD:STATISTICS; accuracies are those of the same method, statistics and rounds.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grid_found
from compare_methods import share

from checkpoints.files import read_json
from transfer.report import tables

Row = Mapping[str, Any]
SHOWN = {
    "trace, own": "own_trace_kept", "outputs, own": "own_outputs_kept", "trace, stored": "trace_kept",
    "largest, stored": "largest_kept", "outputs, stored": "outputs_kept",
}  # fmt: skip


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="compare_methods.json")
    parser.add_argument("--sparsity", type=float, help="what each way keeps at this sparsity")
    parser.add_argument("--accuracies", type=Path, help="folder of accuracy_grid.py's CSV of digits: sort by it")
    parser.add_argument("--nearest", action="store_true", help="of each way, the one whose masks overlap most")
    asked = parser.parse_args()
    content = read_json(asked.file)
    if asked.nearest:
        print(nearest(content["overlaps"]), end="")
    else:
        rows = [row for row in content["rows"] if row["sparsity"] == asked.sparsity]
        print(kept(rows, grid_found.accuracies(asked.accuracies, asked.sparsity) if asked.accuracies else {}), end="")


def kept(rows: Sequence[Row], found: Mapping[str, Sequence[float]]) -> str:
    """Return a line per way of pruning, the best accuracy first."""
    known = {row["method"]: found.get(way_of(row), ()) for row in rows}
    lines = [
        (
            f"`{row['method']}`", *([grid_found.spread(known[row["method"]] or None) or "-"] if found else []),
            str(row["rounds"]), *(share(row[name]) for name in SHOWN.values()), str(len(row["empty_layers"])),
            str(row["dead_units"]),
        )
        for row in sorted(rows, key=lambda row: -grid_found.mean(known[row["method"]]))
    ]  # fmt: skip
    columns = ("way", *(["accuracy"] if found else []), "rounds", *SHOWN, "empty layers", "dead units")
    return tables.markdown(columns, lines)


def way_of(row: Row) -> str:
    """Return a row's method, statistics and rounds as accuracy_grid.py names them."""
    method, _, seen = row["method"].partition(":")
    return grid_found.csv_name(method, seen or None, row["rounds"])


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
