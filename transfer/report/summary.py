"""The tables of a section, as text: for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transfer.report.figures import capital, percent
from transfer.report.noise import difference, paired
from transfer.report.recommend import rivals
from transfer.report.record import text
from transfer.report.rows import Row, best
from transfer.report.sections import Section
from transfer.report.units import UNKNOWN, count, file_size, seconds

SHORT = ("method", "sparsity", "seeds", "− dense", "file")


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix of methods and sparsities."""

    words: str
    note: str = ""
    best: bool = False
    span: int = 1


def matrix(section: Section) -> dict[str, Any]:
    """Return the headline by way of pruning (rows) and sparsity (columns)."""
    bests = [best([row for row in section.pruned if row.level == level]) for level in section.levels]
    rows = []
    if section.dense:
        rows.append(("dense", [_cell(section, section.dense, False, max(1, len(section.levels)))]))
    for label in section.labels:
        cells = [section.at(label, level) for level in section.levels]
        rows.append((label, [_cell(section, row, row is top) for row, top in zip(cells, bests, strict=True)]))
    several = any(row.std is not None for row in section.rows)
    spread = ", mean ± standard deviation over seeds" if several else ", one seed"
    caption = f"{capital(section.headline.axis)}{spread}; bold: best mean at a sparsity; {UNKNOWN}: no finished run"
    return {"caption": caption, "columns": ["method", *map(percent, section.levels)], "rows": rows}


def _cell(section: Section, row: Row | None, bold: bool, span: int = 1) -> Cell:
    if row is None:
        return Cell(UNKNOWN)
    short = len(row.runs) < len(section.seeds)
    note = f"{len(row.runs)} of {len(section.seeds)} seeds" if short else ""
    return Cell(_plain(section, row), note, bold, span)


def _plain(section: Section, row: Row) -> str:
    """Return mean and standard deviation in the axis' unit, without the unit."""
    form = ".2f" if section.headline.percent else ".4g"
    mean = format(section.headline.plotted(row.mean), form)
    return mean if row.std is None else f"{mean} ± {format(section.headline.plotted(row.std), form)}"


def columns(section: Section) -> list[str]:
    """Return the titles of :func:`row`."""
    return [
        "method", "sparsity", "seeds", section.headline.label, "− dense", "weights kept", "file", "multiply-adds",
        "dead units", "empty layers", "pruning", "training",
    ]  # fmt: skip


def row(section: Section, of: Row) -> list[str]:
    """Return all that is told of a row."""
    return [
        of.label,
        f"{of.sparsity:.2%}",
        " ".join(map(str, of.runs)),
        section.headline.text(of.mean, of.std),
        minus_dense(section, of),
        f"{round(of.kept):,}",
        file_size(of.file_bytes),
        count(of.multiply_adds),
        count(of.average(lambda run: run.result.get("dead_units"))),
        _empty(of),
        seconds(of.average(lambda run: run.prune_s)),
        seconds(of.average(lambda run: run.train_s)),
    ]


def _empty(of: Row, most: int = 2) -> str:
    names = sorted({name for run in of.runs.values() for name in run.result.get("empty_layers", [])})
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "none"


def minus_dense(section: Section, of: Row) -> str:
    """Return the difference to dense, paired over seeds."""
    gap = paired(of.values, section.dense.values) if section.dense and not of.dense else None
    return difference(section.headline, gap.mean, unit=False) if gap else UNKNOWN


def shown(section: Section) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows for a terminal."""
    names = [name for name in columns(section) if name in SHORT or name == section.headline.label]
    places = [columns(section).index(name) for name in names]
    rows = [row(section, each) for each in section.rows]
    return names, [[cells[place] for place in places] for cells in rows]


def settings(section: Section) -> list[tuple[str, str]]:
    """Return what all runs have in common, and how each way prunes."""
    ways = {row.label: next(iter(row.runs.values())).way for row in section.pruned}
    told = [(f"pruning: {label}", ", ".join(f"{k} {text(v)}" for k, v in way.items())) for label, way in ways.items()]
    return [*section.records[0].protocol.items(), *told]


def noise(section: Section) -> list[Sequence[str]]:
    """Return every row beside the best at its sparsity: difference, interval, n and verdict."""
    found: list[Sequence[str]] = []
    for rival in rivals(section):
        gap = rival.gap
        interval = UNKNOWN
        if gap and gap.interval:
            interval = " to ".join(difference(section.headline, each, unit=False) for each in gap.interval)
        found.append((
            rival.row.label, percent(rival.row.level), rival.best.label,
            difference(section.headline, gap.mean) if gap else UNKNOWN, interval,
            str(gap.n if gap else 0), gap.verdict if gap else "no seed in common",
        ))  # fmt: skip
    return found
