"""Split runs into sections: what differs in task, data, protocol, settings or versions is never averaged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from transfer.report.record import Record
from transfer.report.rows import Row, rows_of
from transfer.tasks import Metric, Task


@dataclass(frozen=True)
class Section:
    """Runs of one protocol.

    Attributes:
        records: its runs, each once.
        differs: in what its protocol differs from that of the nearest section before; empty for the first.
    """

    records: Sequence[Record]
    differs: str = ""

    @property
    def task(self) -> type[Task]:
        """The task of all runs."""
        return self.records[0].task

    @property
    def headline(self) -> Metric:
        """The metric of all runs."""
        return self.task.headline

    @property
    def title(self) -> str:
        """Backbone and data in one line."""
        return f"{self.records[0].recipe.backbone}: {self.task.data_line(self.records[0].result)}"

    @cached_property
    def rows(self) -> list[Row]:
        """The runs by way of pruning and sparsity."""
        return rows_of(self.records)

    @property
    def dense(self) -> Row | None:
        """The row of the dense model."""
        return next((row for row in self.rows if row.dense), None)

    @property
    def pruned(self) -> list[Row]:
        """All rows but the dense one."""
        return [row for row in self.rows if not row.dense]

    @property
    def labels(self) -> list[str]:
        """The ways of pruning, each once."""
        return list(dict.fromkeys(row.label for row in self.pruned))

    @property
    def levels(self) -> list[float]:
        """The sparsities, rising."""
        return sorted({row.level for row in self.pruned})

    @property
    def seeds(self) -> list[int]:
        """The seeds of any row."""
        return sorted({seed for row in self.rows for seed in row.runs})

    def at(self, label: str, level: float) -> Row | None:
        """Return the row of a way at a sparsity; None if there is none."""
        return next((row for row in self.pruned if (row.label, row.level) == (label, level)), None)


def split(records: Iterable[Record]) -> tuple[list[Section], list[tuple[str, str]]]:
    """Return the sections, and the folder of each run that is there twice and why it is left out."""
    groups: dict[tuple[tuple[str, str], ...], dict[str, Record]] = {}
    twice: list[tuple[str, str]] = []
    for record in records:
        cells = groups.setdefault(tuple(record.protocol.items()), {})
        cell = f"{record.method} {record.level} {record.seed} {sorted(record.way.items())}"
        if cell in cells:
            twice.append(_twice(cells[cell], record))
        cells.setdefault(cell, record)
    protocols = [dict(key) for key in groups]
    return [
        Section(list(cells.values()), _difference(protocols[:place], protocols[place]))
        for place, cells in enumerate(groups.values())
    ], twice


def _twice(first: Record, second: Record) -> tuple[str, str]:
    same = first.value == second.value or (math.isnan(first.value) and math.isnan(second.value))
    but = "" if same else f", and their results differ ({first.value:.6g} and {second.value:.6g})"
    return str(second.folder), f"the same run as {first.folder}{but}; left out"


def _difference(before: Sequence[Mapping[str, str]], protocol: Mapping[str, str]) -> str:
    """Return in what a protocol differs from the nearest of those before, in one line."""
    if not before:
        return ""
    found = [(_differing(other, protocol), place) for place, other in enumerate(before)]
    names, place = min(found, key=lambda each: (len(each[0]), each[1]))
    other = before[place]
    told = [f"{name} {other.get(name, 'unknown')} there, {protocol.get(name, 'unknown')} here" for name in names]
    return f"not averaged with section {place + 1}: {'; '.join(told)}"


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
