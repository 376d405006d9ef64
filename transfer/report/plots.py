"""Plots of a run, as PNG files."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints.files import write_whole
from transfer.tasks import Metric

COLOURS = {
    "dense": "#555555",
    "random": "#b07aa1",
    "magnitude": "#f28e2b",
    "snip": "#59a14f",
    "grasp": "#8cd17d",
    "synflow": "#499894",
    "synflow-dist": "#86bcb6",
    "synflow-l2": "#76b7b2",
    "synflow-l2-dist": "#a0cbe8",
    "logsynflow": "#d4a6c8",
    "ntk-sap": "#e15759",
    "px": "#4e79a7",
    "px-gated": "#1f3a5f",
    "px-trace": "#7f5fa9",
    "px-released": "#aec7e8",
    "ntk-trace": "#c2185b",
    "ntk-balanced": "#ff7f0e",
    "jacobian": "#9c755f",
    "fisher": "#bcbd22",
    "fts": "#dbdb8d",
    "hutchinson": "#17becf",
    "hts": "#9edae5",
    "imp": "#edc948",
    "gmp": "#ff9da7",
}


def metric(epochs: Sequence[Mapping[str, float]], headline: Metric, path: Path, title: str) -> None:
    """Plot a test metric by epoch."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(title)
    values = [headline.plotted(row[headline.name]) for row in epochs]
    axes.plot([row["epoch"] for row in epochs], values, marker="o", markersize=3, color=COLOURS["px"])
    axes.set(xlabel="epoch", ylabel=headline.axis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _write(figure, path)


def density(layers: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Plot the kept fraction of every layer; an empty layer is marked by a cross."""
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


def comparison(rows: Sequence[Mapping[str, Any]], headline: Metric, path: Path, *, title: str) -> None:
    """Plot a metric against sparsity: one line per method, the dense model as a dashed line, ± std where seeds differ.

    Rows hold method, sparsity (fraction), and mean and std of the metric.
    """
    figure, axes = _figure(title)
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        mean, std = ([headline.plotted(row[key]) for row in own] for key in ("mean", "std"))
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
    axes.set(xlabel="weights removed (%)", ylabel=headline.axis)
    axes.legend(frameon=False)
    _write(figure, path)


def ways(columns: Mapping[str, Mapping[str, Sequence[float]]], order: Sequence[str], path: Path) -> None:
    """Plot accuracies by way of pruning, one panel per column.

    Each seed is a dot, their mean a bar, and the dense model a dashed line. ``columns`` maps a title to accuracies
    (fractions) by way, one per seed; a way without any is a cross at the left edge. A way's colour is that of its
    method, the first part of METHOD:STATISTICS…
    """
    from matplotlib.figure import Figure

    names = [name for name in order if name != "dense"]
    figure = Figure(figsize=(3.2 * len(columns) + 1.5, 0.9 + 0.24 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, (title, by_way) in zip(panels, columns.items(), strict=True):
        _dress(axes, title)
        low = min((100 * value for values in by_way.values() for value in values), default=0.0)
        for place, name in enumerate(names):
            values = [100 * value for value in by_way.get(name, ())]
            colour = COLOURS.get(name.split(":")[0].split("+")[0].split(",")[0], "#555555")
            if values:
                axes.plot(values, [place] * len(values), "o", color=colour, markersize=4, alpha=0.6)
                axes.plot([sum(values) / len(values)], [place], "|", color=colour, markersize=12, markeredgewidth=2.5)
            elif name in by_way:
                axes.plot([low], [place], "x", color="#e15759")
        if by_way.get("dense"):
            dense = 100 * sum(by_way["dense"]) / len(by_way["dense"])
            axes.axvline(dense, linestyle="--", color=COLOURS["dense"])
        axes.set_xlabel("test accuracy (%)", fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    _write(figure, path)


def kept_trace(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Plot the fraction of the dense trace that each method keeps: one row per method, one dot per sparsity, log scale.

    One panel with each network's own BatchNorm statistics, one with the dense network's. Rows hold method, sparsity,
    own_trace_kept and trace_kept (fractions). A trace of 0 is a cross at the left edge.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["method"] for row in rows))
    sparsities = list(dict.fromkeys(row["sparsity"] for row in rows))
    figure = Figure(figsize=(8.0, max(2.8, 1.1 + 0.24 * len(names))), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    kinds = {"own_trace_kept": "its own BatchNorm statistics", "trace_kept": "the dense network's statistics"}
    for axes, (kind, label) in zip(panels, kinds.items(), strict=True):
        least = min((row[kind] for row in rows if row[kind] > 0), default=1e-3) / 2
        for number, sparsity in enumerate(sparsities):
            shown = [row for row in rows if row["sparsity"] == sparsity]
            places = [names.index(row["method"]) for row in shown]
            values = [row[kind] for row in shown]
            lost = [place for place, value in zip(places, values, strict=True) if value == 0]
            colour = list(COLOURS.values())[(8, 11, 4, 9)[number % 4]]
            axes.plot([v or least for v in values], places, "o", color=colour, label=f"{100 * sparsity:g} % removed")
            axes.plot([least] * len(lost), lost, "x", color="white", markersize=5)
        axes.axvline(1, linestyle="--", color=COLOURS["dense"], label="dense")
        _dress(axes, label)
        axes.set(xscale="log")
        axes.set_xlabel("part of the dense network's trace", fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
    panels[0].invert_yaxis()
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(sparsities) + 1, fontsize=8,
        frameon=False,
    )  # fmt: skip
    figure.suptitle(title, fontsize=9)
    _write(figure, path)


def overlaps(found: Mapping[str, Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Plot one matrix per sparsity: below the diagonal the overlap of each pair of masks, above it the expected one.

    ``found`` maps a sparsity (text of a fraction) to names and the square matrices found and expected, in [0, 1].
    """
    from matplotlib.figure import Figure

    most = max(len(of["names"]) for of in found.values())
    side = max(3.0, 0.8 + 0.36 * most)
    figure = Figure(figsize=(side * len(found), side + 0.5), layout="constrained")
    grid = figure.subplots(1, len(found), squeeze=False)[0]
    for (sparsity, of), axes in zip(found.items(), grid, strict=True):
        count = len(of["names"])
        values = [[100 * of["found" if i >= j else "expected"][i][j] for j in range(count)] for i in range(count)]
        axes.imshow(values, cmap="viridis", vmin=0, vmax=100)
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                colour = "black" if value > 60 else "white"
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=6, color=colour)
        axes.set_xticks(range(count), of["names"], rotation=90, fontsize=7)
        axes.set_yticks(range(count), of["names"], fontsize=7)
        axes.set_title(f"{100 * float(sparsity):g} % removed", fontsize=8)
    figure.suptitle(f"{title}, percent", fontsize=9)
    _write(figure, path)


def search(
    trials: Sequence[tuple[str, str, Sequence[Mapping[str, float]], bool]], headline: Metric, path: Path, *, title: str
) -> None:
    """Plot a validation metric by epoch, one line per trial of a search, the best trial first and in bold.

    A trial is its method, its allocation, its metrics by epoch, and whether it reached the end and is named. Lines of
    allocations other than the best trial's are dashed.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(title)
    first = trials[0][1]
    for place, (method, allocation, epochs, named) in reversed(list(enumerate(trials))):
        axes.plot(
            [row["epoch"] for row in epochs], [headline.plotted(row[headline.name]) for row in epochs],
            marker="o", markersize=4, linestyle="-" if allocation == first else "--", color=COLOURS.get(method),
            linewidth=2.5 if place == 0 else 1.2, alpha=1.0 if named else 0.5,
            label=f"{method}, {allocation}" if named else None,
        )  # fmt: skip
    axes.set(xlabel="epoch", ylabel=headline.axis.replace("test", "validation", 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, reverse=True)
    _write(figure, path)


def _figure(title: str, width: float = 6.0, height: float = 4.0) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _dress(axes, title)
    return figure, axes


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _write(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_whole(path, buffer.getvalue())
