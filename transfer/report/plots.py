"""Plots of a run, as PNG files."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transfer.files import write_whole

COLOURS = {
    "dense": "#555555",
    "random": "#b07aa1",
    "magnitude": "#f28e2b",
    "snip": "#59a14f",
    "synflow-l2": "#76b7b2",
}
COLOURS |= {"px": "#4e79a7"}


def accuracy(epochs: Sequence[Mapping[str, float]], path: Path, *, title: str) -> None:
    """Draw test accuracy by epoch."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(title)
    axes.plot(
        [row["epoch"] for row in epochs],
        [100 * row["accuracy"] for row in epochs],
        marker="o",
        markersize=3,
        color="#4e79a7",
    )
    axes.set(xlabel="epoch", ylabel="test accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _write(figure, path)


def density(layers: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draw the kept fraction of every layer; an empty layer is marked by a cross."""
    figure, axes = _figure(title, width=max(6.0, 0.16 * len(layers)))
    values = [row["density"] for row in layers]
    smallest = min((v for v in values if v > 0), default=1.0) / 3
    axes.bar(
        range(len(layers)),
        [v or smallest for v in values],
        color=["#4e79a7" if v else "none" for v in values],
    )
    empty = [i for i, v in enumerate(values) if v == 0]
    axes.plot(empty, [smallest] * len(empty), "x", color="#e15759", label="empty" if empty else None)
    axes.set(ylabel="density (log)", yscale="log", ylim=(smallest / 1.5, 1.5))
    axes.set_xticks(range(len(layers)), [row["layer"] for row in layers], rotation=90, fontsize=6)
    if empty:
        axes.legend()
    _write(figure, path)


def comparison(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draw accuracy against sparsity: one line a method, the dense model as a dashed line, ± std where seeds differ.

    Rows hold method, sparsity (fraction), mean and std (fractions).
    """
    figure, axes = _figure(title)
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        mean, std = [100 * row["mean"] for row in own], [100 * row["std"] for row in own]
        colour = COLOURS.get(method)
        if method == "dense":
            axes.axhline(mean[0], linestyle="--", color=colour, label=method)
            continue
        spread = std if any(std) else None
        axes.errorbar(
            [100 * row["sparsity"] for row in own],
            mean,
            spread,
            marker="o",
            capsize=3,
            color=colour,
            label=method,
        )
    axes.set(xlabel="weights removed (%)", ylabel="test accuracy (%)")
    axes.legend(frameon=False)
    _write(figure, path)


def _figure(title: str, width: float = 6.0) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _write(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_whole(path, buffer.getvalue())
