"""What a report recommends: the smallest file near the dense model, and which differences are within noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from transfer.report.noise import Paired, paired
from transfer.report.rows import Row, best
from transfer.report.sections import Section
from transfer.report.units import file_size


@dataclass(frozen=True)
class Rival:
    """A row beside the best one at its sparsity."""

    row: Row
    best: Row
    gap: Paired | None


def recommendation(section: Section, within: float) -> str:
    """Return the smallest file within a distance of dense, in the metric's own terms, in one or two sentences.

    Ablated runs are no models, and are left out.

    Args:
        section: the runs.
        within: the most that the mean may lose, in percentage points for a metric that is a percentage, otherwise in
            the metric's unit.
    """
    dense, metric = section.dense, section.headline
    points = "percentage point" + "s" * (within != 1)
    distance = f"{within:g} {points if metric.percent else metric.label}"
    if dense is None:
        return "There is no dense run to compare with; run the recipe with --prune.sparsity 0 and report again."
    models = [row for row in section.pruned if not row.ablated]
    lost = {id(row): loss(section, row) for row in models}
    near = [row for row in models if lost[id(row)] <= within + 1e-9]
    if not near:
        found = [row for row in models if math.isfinite(lost[id(row)])]
        nearest = min(found, key=lambda row: lost[id(row)], default=None)
        more = f" The nearest is {_told(nearest, dense, section)}" if nearest else ""
        return f"No pruned model is within {distance} of dense.{more}"
    sized = all(row.file_bytes is not None for row in near)
    what = "smallest file" if sized else "fewest weights (not all files are there to be measured)"
    chosen = min(near, key=lambda row: ((row.file_bytes or 0) if sized else row.kept, lost[id(row)]))
    return f"The {what} within {distance} of dense: {_told(chosen, dense, section)}"


def loss(section: Section, row: Row) -> float:
    """Return by how much a row's mean is worse than dense, paired over seeds, in the axis' unit; nan if unknown."""
    gap = paired(row.values, section.dense.values) if section.dense else None
    if gap is None:
        return math.nan
    lost = -gap.mean if section.headline.larger_is_better else gap.mean
    return section.headline.plotted(lost)


def rivals(section: Section) -> list[Rival]:
    """Return, for each sparsity, every other row beside the one with the best mean."""
    found = []
    for level in section.levels:
        rows = [row for row in section.pruned if row.level == level]
        first = best(rows)
        if first is not None:
            found += [Rival(row, first, paired(row.values, first.values)) for row in rows if row is not first]
    return found


def lines(section: Section, within: float) -> list[str]:
    """Return the recommendation and, per sparsity, which rows are as good as the best within noise."""
    return [recommendation(section, within), *(_level(section, level) for level in section.levels)]


def _level(section: Section, level: float) -> str:
    metric, rows = section.headline, [row for row in section.pruned if row.level == level]
    first, name = best(rows), f"At {level:.2%}"
    if all(row.ablated for row in rows):
        return f"{name}: only ablated runs."
    if first is None:
        return f"{name}: no value is a number."
    if len(rows) == 1:
        return f"{name}: {first.label} alone, {metric.text(first.mean, first.std)}."
    grouped: dict[str, list[str]] = {}
    for rival in rivals(section):
        if rival.row.level == level:
            verdict = rival.gap.verdict if rival.gap else "no seed in common"
            grouped.setdefault(verdict, []).append(rival.row.label)
    told = "; ".join(f"{verdict}: {', '.join(labels)}" for verdict, labels in sorted(grouped.items(), reverse=True))
    return f"{name}: best mean {first.label}, {metric.text(first.mean, first.std)}. Difference {told}."


def _told(row: Row, dense: Row, section: Section) -> str:
    metric, gap = section.headline, paired(row.values, dense.values)
    assert gap is not None  # rows without a seed in common have no distance
    size = ""
    if row.file_bytes is not None and dense.file_bytes is not None:
        ratio = row.file_bytes / dense.file_bytes
        size = f"{file_size(row.file_bytes)} instead of {file_size(dense.file_bytes)} ({ratio:.1%}), "
    return (
        f"{row.label} at {row.level:.2%} sparsity: {size}{metric.label} {metric.text(row.mean, row.std)}, "
        f"dense {metric.text(dense.mean, dense.std)}; difference {gap.text(metric)}."
    )
