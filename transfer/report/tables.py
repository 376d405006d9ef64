"""Tables in the terminal, in Markdown and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from transfer.environment import main_process

_FORMULA = "=+-@\t\r"  # with which a spreadsheet's formula begins


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table to stdout, from the main process; numbers are right-aligned."""
    if not main_process():
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for column, right in zip(columns, _numbers(rows), strict=True):
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table in Markdown."""
    rule = ["---:" if right else "---" for right in _numbers(rows)]
    return "".join("| " + " | ".join(row) + " |\n" for row in (columns, rule, *rows))


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of the same keys as CSV; None is an empty field.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    found = io.StringIO()
    table = csv.DictWriter(found, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)
    return found.getvalue()


def _no_formula(value: Any) -> Any:
    risky = isinstance(value, str) and value[:1] in tuple(_FORMULA) and not all(map(_is_number, value.split()))
    return f"'{value}" if risky else value


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _numbers(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Return for each column whether its first text that is not empty begins with a digit."""
    return [next(filter(None, column), "")[:1].isdigit() for column in zip(*rows, strict=True)]
