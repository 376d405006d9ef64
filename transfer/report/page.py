"""The report as one HTML page: nothing outside it is loaded, and it can be read without scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transfer.report import recommend, summary
from transfer.report.chart import MARKS, REFERENCE, drawn
from transfer.report.figures import charts, percent
from transfer.report.noise import CONFIDENCE
from transfer.report.rows import DENSE, Row
from transfer.report.sections import Section

FOLDER = Path(__file__).parent / "page"
COLOURS = 6
DASHES = 4


def page(
    sections: Sequence[Section], faults: Sequence[Any], source: str, within: float, command: Callable[[Row], str]
) -> str:
    """Return the page.

    Args:
        sections: the runs.
        faults: rows with where, kind, cell and what, of runs that are not shown.
        source: where the runs are from, in one line.
        within: the distance of the recommendation.
        command: returns the shell lines that make the runs of a row again.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    styles = _styles(sections)
    return env.get_template("page.html.jinja").render(
        title=f"Pruning before fine-tuning: {_recipes(sections)}",
        source=source,
        faults=faults,
        sections=[_shown(section, styles, within, command) for section in sections],
        method=_method(),
        percent=percent,
        style_of=style_of,
        mark_of=lambda style: MARKS[style % len(MARKS)],
    )


def style_of(style: int) -> str:
    """Return the classes of a line: a colour, and a dash pattern once all colours are taken."""
    if style == REFERENCE:
        return "reference"
    return f"s{style % COLOURS} d{style // COLOURS % DASHES}"


def _styles(sections: Sequence[Section]) -> dict[str, int]:
    """Return a number for each way of pruning, the same in all sections."""
    return {label: n for n, label in enumerate(dict.fromkeys(label for s in sections for label in s.labels))}


def _shown(section: Section, styles: dict[str, int], within: float, command: Callable[[Row], str]) -> dict[str, Any]:
    found = [drawn(chart) for chart in charts(section, styles)]
    dense = [(DENSE, REFERENCE)] if section.dense else []
    commands = [command(row) for row in section.rows]
    lines = recommend.lines(section, within)
    return {
        "title": section.title, "differs": section.differs, "recommendation": lines[0], "lines": lines,
        "matrix": summary.matrix(section), "keys": [*dense, *((name, styles[name]) for name in section.labels)],
        "overall": [chart for chart in found if chart.chart.level is None],
        "levelled": [chart for chart in found if chart.chart.level is not None], "levels": section.levels,
        "table": {"columns": summary.columns(section), "rows": [summary.row(section, row) for row in section.rows]},
        "commands": "\n".join(commands), "imports": any(line.startswith("python -c") for line in commands),
        "settings": summary.settings(section), "noise": summary.noise(section),
    }  # fmt: skip


def _recipes(sections: Sequence[Section]) -> str:
    return ", ".join(dict.fromkeys(record.recipe.name for section in sections for record in section.records))


def _method() -> str:
    return (
        f"Differences are paired over the seeds that both rows have; the interval is Student's {CONFIDENCE:.0%} t "
        "interval of their mean, and a difference is within noise if it contains 0. With one seed the noise is "
        "unknown. The intervals are not corrected for their number: of twenty, one misses by chance."
    )
