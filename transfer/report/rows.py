"""The rows of a report: runs that differ in nothing but their seed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transfer.report.record import Record, text

DENSE = "dense"
_OF_THE_SET = ("per_class", "images", "batch")  # of the pruning set: recipes choose them, methods do not


@dataclass(frozen=True)
class Row:
    """Runs of one way of pruning at one sparsity, by their seeds.

    Attributes:
        label: the method, with what is not as the method has it by default, or differs from other rows of the method.
        level: the sparsity asked for.
        runs: by seed.
    """

    label: str
    level: float
    runs: Mapping[int, Record]

    @property
    def dense(self) -> bool:
        """Whether nothing was pruned."""
        return self.first.dense

    @property
    def ablated(self) -> bool:
        """Whether the pruning was undone in part."""
        return self.first.ablated

    @property
    def first(self) -> Record:
        """The run of the lowest seed."""
        return next(iter(self.runs.values()))

    @property
    def values(self) -> dict[int, float]:
        """The headline of each seed."""
        return {seed: run.value for seed, run in self.runs.items()}

    @property
    def mean(self) -> float:
        """Mean of the headline; nan if one value is."""
        return float(np.mean(list(self.values.values())))

    @property
    def std(self) -> float | None:
        """Standard deviation of the headline over seeds; None with one seed."""
        values = list(self.values.values())
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def average(self, of: Callable[[Record], float | None]) -> float | None:
        """Return the mean of a number over the runs that have it; None if none has."""
        found = [value for value in map(of, self.runs.values()) if value is not None]
        return float(np.mean(found)) if found else None

    @property
    def file_bytes(self) -> float | None:
        """Mean bytes of the smallest file."""
        return self.average(lambda run: run.file_bytes)

    @property
    def sparsity(self) -> float:
        """Mean fraction that was removed."""
        return self.average(lambda run: run.result["sparsity"]) or 0.0

    @property
    def kept(self) -> float:
        """Mean number of kept weights."""
        return self.average(lambda run: run.result["kept"]) or 0.0

    @property
    def multiply_adds(self) -> float | None:
        """Mean number of multiply-adds on one image by kept weights."""
        return self.average(lambda run: (run.result.get("multiply_adds") or {}).get("kept"))

    def layers(self, of: Callable[[Mapping[str, Any]], float]) -> dict[str, float]:
        """Return the mean of a number per layer, over the runs that have their layers."""
        found: dict[str, list[float]] = {}
        for run in self.runs.values():
            for layer in run.layers:
                found.setdefault(layer["layer"], []).append(of(layer))
        return {name: float(np.mean(values)) for name, values in found.items()}

    def curve(self, name: str) -> list[tuple[int, float, float | None]]:
        """Return a metric by epoch: epoch, mean and standard deviation over the runs that have it."""
        found: dict[int, list[float]] = {}
        for run in self.runs.values():
            for epoch in run.epochs:
                if epoch.get(name) is not None:
                    found.setdefault(int(epoch["epoch"]), []).append(float(epoch[name]))
        return [
            (epoch, float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)
            for epoch, values in sorted(found.items())
        ]


def rows_of(records: Sequence[Record]) -> list[Row]:
    """Return the rows of runs of one protocol: the dense one first, then by way of pruning and sparsity."""
    found: dict[tuple[str, float], dict[int, Record]] = {}
    names = _varying(records)
    for record in records:
        runs = found.setdefault((_label(record, names), record.level), {})
        assert record.seed not in runs, f"{record.folder} and {runs[record.seed].folder} have one label"
        runs[record.seed] = record
    order = {label: place for place, (label, _) in enumerate(found)}
    rows = [Row(label, level, dict(sorted(runs.items()))) for (label, level), runs in found.items()]
    return sorted(rows, key=lambda row: (not row.dense, order[row.label], row.level))


def best(rows: Sequence[Row]) -> Row | None:
    """Return the row with the best mean, ablated ones aside; None if no mean is a number."""
    found: Row | None = None
    for row in rows:
        metric = row.first.headline
        if not row.ablated and math.isfinite(row.mean) and (found is None or metric.better(row.mean, found.mean)):
            found = row
    return found


def _varying(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return, by method, which settings of the pruning set its runs differ in."""
    seen: dict[str, dict[str, set[str]]] = {}
    for record in records:
        for name in _OF_THE_SET:
            seen.setdefault(record.method, {}).setdefault(name, set()).add(json.dumps(record.way[name]))
    return {method: [name for name, values in ways.items() if len(values) > 1] for method, ways in seen.items()}


def _label(record: Record, varying: Mapping[str, Sequence[str]]) -> str:
    named = (record.unusual - set(_OF_THE_SET)) | set(varying[record.method])
    more = ", ".join(f"{name} {text(value)}" for name, value in record.way.items() if name in named)
    return f"{DENSE if record.dense else record.method}{f' ({more})' if more else ''}"
