"""A report's table for spreadsheets (CSV) and for papers (LaTeX, booktabs)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from transfer.report.noise import paired
from transfer.report.record import text
from transfer.report.rows import Row, best
from transfer.report.sections import Section
from transfer.report.tables import csv_text

_TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "_": r"\_", "%": r"\%",
    "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "±": r"$\pm$", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}",
}  # fmt: skip


def as_csv(sections: Sequence[Section]) -> str:
    """Return one line per row of every section; numbers as they are, unknown ones empty."""
    lines = [_csv_row(number, section, row) for number, section in enumerate(sections, 1) for row in section.rows]
    return csv_text(lines)


def _csv_row(number: int, section: Section, row: Row) -> dict[str, Any]:
    gap = paired(row.values, section.dense.values) if section.dense and not row.dense else None
    low, high = gap.interval if gap and gap.interval else (None, None)
    return {
        "section": number, "task": section.task.name, "data": section.task.data_line(section.records[0].result),
        "backbone": section.records[0].recipe.backbone, "label": row.label, "method": row.first.method,
        **{f"prune.{name}": None if value is None else text(value) for name, value in row.first.way.items()},
        "sparsity_asked": row.level,
        "sparsity": row.sparsity, "kept": row.kept, "metric": section.headline.name, "n": len(row.runs),
        "seeds": " ".join(map(str, row.values)), "values": " ".join(map(repr, row.values.values())),
        "mean": row.mean, "std": row.std, "minus_dense": gap.mean if gap else None, "low": low, "high": high,
        "paired_n": gap.n if gap else None, "file_bytes": row.file_bytes,
        "dense_bytes": row.average(lambda run: run.dense_bytes), "multiply_adds": row.multiply_adds,
        "dead_units": row.average(lambda run: run.result.get("dead_units")),
        "prune_s": row.average(lambda run: run.prune_s), "train_s": row.average(lambda run: run.train_s),
    }  # fmt: skip


def as_latex(sections: Sequence[Section]) -> str:
    r"""Return one table per section, for ``\input`` in a document that uses booktabs."""
    return "\n".join(["% needs \\usepackage{booktabs}", *map(_table, sections)])


def _table(section: Section) -> str:
    unit = r" (\%)" if section.headline.percent else ""
    seeds = max(len(row.runs) for row in section.rows)
    spread = f", mean $\\pm$ standard deviation over up to {seeds} seeds" if seeds > 1 else ""
    caption = f"{tex(section.title)}. Test {tex(section.headline.label)}{unit}{spread}. Bold: best mean."
    head = " & ".join(["sparsity (\\%)", *(f"{round(100 * level, 4):g}" for level in section.levels)])
    columns = "l" + "r" * len(section.levels)
    body = "".join(f"{line} \\\\\n" for line in _body(section))
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{head} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _body(section: Section) -> Iterator[str]:
    width = len(section.levels)
    if section.dense:
        cell = _cell(section, section.dense, False)
        yield f"dense & \\multicolumn{{{width}}}{{c}}{{{cell}}}" if width else f"dense: {cell}"
    bests = [best([row for row in section.pruned if row.level == level]) for level in section.levels]
    for label in section.labels:
        cells = [section.at(label, level) for level in section.levels]
        told = [_cell(section, row, row is first) for row, first in zip(cells, bests, strict=True)]
        yield " & ".join([tex(label), *told])


def _cell(section: Section, row: Row | None, bold: bool) -> str:
    if row is None:
        return "--"
    mean, std = (_number(section, each) for each in (row.mean, row.std))
    mean = f"\\mathbf{{{mean}}}" if bold else mean
    return f"${mean} \\pm {std}$" if row.std is not None else f"${mean}$"


def _number(section: Section, value: float | None) -> str:
    if value is None or math.isnan(value):
        return r"\mathrm{nan}"
    if math.isinf(value):
        return r"\infty" if value > 0 else r"-\infty"
    plotted = section.headline.plotted(value)
    return f"{plotted:.2f}" if section.headline.percent else f"{plotted:.4g}"


def tex(words: str) -> str:
    """Return text with LaTeX's own characters escaped."""
    return re.sub("|".join(map(re.escape, _TEX)), lambda found: _TEX[found[0]], words)
