"""Plots of the papers' figures, as PNG files."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from transfer.report import plots
from transfer.tasks import Metric

FLOOR = 1e-8  # eigenvalues below this part of the largest are rounding


def spectrum(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Plot eigenvalues in falling order, one line per network; rows hold network and values."""
    figure, axes = plots._figure(title, width=6.5)
    least = FLOOR * max(max(row["values"]) for row in rows)
    for row, style in zip(rows, cycle(("-", "--", "-.", ":")), strict=False):
        values = [value for value in row["values"] if value > least]
        colour = plots.COLOURS.get(row["network"])
        wide = 2.2 if row["network"] == "dense" else 1.4
        axes.plot(range(1, len(values) + 1), values, style, color=colour, linewidth=wide, label=row["network"])
    axes.set(xlabel="index of the eigenvalue", ylabel="eigenvalue", yscale="log", xscale="log")
    _legend(axes)
    plots._write(figure, path)


def bounds(rows: Sequence[Mapping[str, Any]], shown: Mapping[str, str], path: Path, *, title: str) -> None:
    """Plot logarithms against sparsity: a panel for each quantity of ``shown``, a line for each method.

    ``shown`` maps an even number of quantities to titles. Rows hold method, sparsity and each quantity; None is left
    out. The dense network is a dashed line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5.2), layout="constrained")
    panels = figure.subplots(2, len(shown) // 2, squeeze=False).flat
    figure.suptitle(title, fontsize=9)
    for axes, (key, name) in zip(panels, shown.items(), strict=True):
        _tidy(axes, name)
        axes.set(xlabel="weights removed (%)", ylabel="log10")
        for method in _names(rows):
            own = [row for row in rows if row["method"] == method and row[key] is not None]
            places, values = [100 * row["sparsity"] for row in own], [row[key] for row in own]
            if method == "dense" and values:
                axes.axhline(values[0], linestyle="--", color=plots.COLOURS[method], label=method)
            else:
                axes.plot(places, values, "o-", markersize=3, color=plots.COLOURS.get(method), label=method)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    plots._write(figure, path)


def units(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Plot the share of living units of every layer, one line per method; rows hold method, layer, units, living."""
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    figure, axes = plots._figure(title, width=max(7.0, 3 + 0.22 * len(layers)), height=4.4)
    for method, mark in zip(_names(rows), cycle("osD^vPX"), strict=False):
        shares = [100 * row["living"] / row["units"] for row in rows if row["method"] == method]
        axes.plot(range(len(shares)), shares, f"{mark}-", markersize=4, color=plots.COLOURS.get(method), label=method)
    axes.set(ylabel="living output units (%)", ylim=(-3, 103))
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=7)
    _legend(axes)
    plots._write(figure, path)


def rounds(rows: Sequence[Mapping[str, Any]], metric: Metric, path: Path, *, title: str) -> None:
    """Plot a metric and seconds against rounds, one line per method; a method of one round is a single dot.

    Rows hold method, rounds, mean, std (None of one seed) and seconds.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=9)
    for method in _names(rows):
        own = [row for row in rows if row["method"] == method]
        counts, colour = [row["rounds"] for row in own], plots.COLOURS.get(method)
        spread = [metric.plotted(row["std"]) for row in own] if own[0]["std"] is not None else None
        means = [metric.plotted(row["mean"]) for row in own]
        left.errorbar(counts, means, spread, marker="o", markersize=4, capsize=3, color=colour, label=method)
        right.plot(counts, [row["seconds"] for row in own], "o-", markersize=4, color=colour)
    _tidy(left, metric.axis)
    _tidy(right, "seconds of pruning")
    counts = sorted({row["rounds"] for row in rows})
    for axes in (left, right):
        axes.set(xlabel="rounds", xscale="log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
    right.set_yscale("log")
    figure.legend(*left.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    plots._write(figure, path)


def dynamics(
    rows: Sequence[Mapping[str, Any]], fits: Mapping[str, Mapping[str, float] | None], path: Path, *, title: str
) -> None:
    """Plot each quantity of ``fits`` against Tr Π (log), a colour for each width, with the fitted curve and its R².

    Rows hold width, path_kernel (above 0) and each quantity; a fit is None where there is none.
    """
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    figure.suptitle(title, fontsize=9)
    widths = list(dict.fromkeys(row["width"] for row in rows))
    kernels = np.array([row["path_kernel"] for row in rows])
    line = np.geomspace(kernels.min(), kernels.max(), 200) if len(kernels) else kernels
    for axes, (name, fit) in zip(figure.subplots(1, len(fits)), fits.items(), strict=True):
        _tidy(axes, f"R² = {fit['r2']:.3f}" if fit else "no fit")
        for place, width in enumerate(widths):
            own = [row for row in rows if row["width"] == width]
            colour = colormaps["viridis"](0.9 * place / max(1, len(widths) - 1))
            axes.plot(
                [r["path_kernel"] for r in own], [r[name] for r in own], "o", color=colour, label=f"width {width}"
            )
        if fit:
            axes.plot(line, fit["a"] * -np.expm1(-fit["rate"] * line), "--", color=plots.COLOURS["dense"], label="fit")
        axes.set(xlabel="Tr Π at the start", ylabel=name, xscale="log")
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    plots._write(figure, path)


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _tidy(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
