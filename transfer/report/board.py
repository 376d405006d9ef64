"""Progress of a comparison: one updating line on a terminal, otherwise one line per started run."""

import sys
from types import TracebackType
from typing import Any


class Board:
    """Show which of ``total`` runs are running and how many are done; nothing unless ``shown``.

    ``live`` keeps one line at the end of a terminal; other output appears above it.
    """

    def __init__(self, total: int, *, shown: bool, live: bool) -> None:
        self._total, self._shown = total, shown
        self._begun, self._running = 0, list[str]()
        self._bar: Any = _bar() if shown and live and sys.stderr.isatty() else None
        self._task = self._bar.add_task("", total=total) if self._bar is not None else None

    def __enter__(self) -> "Board":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, name: str) -> None:
        """Report that a run begins."""
        self._begun += 1
        self._running.append(name)
        if self._bar is not None:
            self._draw()
        elif self._shown:
            print(f"[{self._begun}/{self._total}] {name}", flush=True)

    def end(self, name: str) -> None:
        """Report that a run has ended."""
        self._running.remove(name)
        if self._bar is not None:
            self._bar.advance(self._task)
            self._draw()

    def _draw(self) -> None:
        self._bar.update(self._task, description="; ".join(self._running))


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=Console(stderr=True), transient=True)
