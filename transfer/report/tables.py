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
    for column, sample in zip(columns, rows[0], strict=True):
        table.add_column(column, justify="right" if sample[:1].isdigit() else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table in Markdown."""
    rule = ["---:" if sample[:1].isdigit() else "---" for sample in rows[0]]
    return "".join("| " + " | ".join(row) + " |\n" for row in (columns, rule, *rows))
