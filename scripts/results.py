"""Markdown tables of the runs in benchmarks/, packed by ``transfer report --pack``.

    python scripts/results.py benchmarks/digits.zip                  # the metric, by way of pruning and sparsity
    python scripts/results.py benchmarks/digits.zip --noise 0.982    # differences to the best at that sparsity
    python scripts/results.py benchmarks/quickstart.zip --columns sparsity "weights kept" accuracy "empty layers"

A zip whose runs differ in task, data or settings has a table for each section of its report.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from transfer.report import summary, tables
from transfer.report.figures import percent
from transfer.report.sections import Section, split
from transfer.runs.gather import gather
from transfer.runs.pack import unpacked


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a zip of runs")
    parser.add_argument("--noise", type=float, metavar="SPARSITY", help="each way beside the best at this sparsity")
    parser.add_argument("--columns", nargs="+", help="one line per way and sparsity, with these columns of the report")
    asked = parser.parse_args()
    for section in sections(asked.file):
        if asked.columns:
            print(lines(section, ["method", *asked.columns]), end="")
        else:
            print(accuracies(section) if asked.noise is None else noise(section, asked.noise), end="")


def sections(path: Path) -> Sequence[Section]:
    """Return what a report shows of a zip."""
    with unpacked([path]) as places:
        return split(gather(list(places.values())).records)[0]


def accuracies(section: Section) -> str:
    """Return the metric by way and sparsity, the best of each sparsity in bold."""
    found = summary.matrix(section)
    width = len(found["columns"]) - 1
    rows = []
    for label, cells in found["rows"]:
        told = [f"**{cell.words}**" if cell.best else cell.words for cell in cells]
        rows.append((label, *(told * width if len(told) < width else told)))
    return tables.markdown(found["columns"], rows)


def lines(section: Section, names: Sequence[str]) -> str:
    """Return columns of the report's table of all rows.

    Raises:
        ValueError: the report has no such column.
    """
    places = [summary.columns(section).index(name) for name in names]
    rows = [summary.row(section, row) for row in section.rows]
    return tables.markdown(names, [[row[place] for place in places] for row in rows])


def noise(section: Section, level: float) -> str:
    """Return difference, interval and verdict of each way beside the best at a sparsity."""
    rows = [row for row in summary.noise(section) if row[1] == percent(level)]
    return tables.markdown(
        ("way", "best", "difference", "95 % interval", "verdict"), [(row[0], row[2], *row[3:5], row[6]) for row in rows]
    )


if __name__ == "__main__":
    main()
