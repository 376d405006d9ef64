"""Plots of the papers' figures, as PNG files."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from transfer.report import plots

FLOOR = 1e-8  # eigenvalues below this part of the largest are rounding


def spectrum(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Plot eigenvalues in falling order, one line per network; rows hold network and values."""
    figure, axes = plots._figure(title, width=6.5)
    least = FLOOR * max(max(row["values"]) for row in rows)
    for row, style in zip(rows, cycle(("-", "--", "-.", ":"))):
        values = [value for value in row["values"] if value > least]
        colour = plots.COLOURS.get(row["network"])
        wide = 2.2 if row["network"] == "dense" else 1.4
        axes.plot(range(1, len(values) + 1), values, style, color=colour, linewidth=wide, label=row["network"])
    axes.set(xlabel="index of the eigenvalue", ylabel="eigenvalue", yscale="log", xscale="log")
    _legend(axes)
    plots._write(figure, path)


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
