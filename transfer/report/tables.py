"""Tables in the terminal and in Markdown."""

from collections.abc import Sequence

from transfer.environment import main_process


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


def _numbers(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Return for each column whether its first text that is not empty begins with a digit."""
    return [next(filter(None, column), "")[:1].isdigit() for column in zip(*rows, strict=True)]
