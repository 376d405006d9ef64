"""What a run says while it works: one log line per event, progress bars on a terminal.

Modules log to ``logging.getLogger(__name__)``. A command shows these lines on stderr (:func:`show`), and a run keeps a
copy in its folder (:func:`copied`). Used as a library, nothing is shown unless the caller configures ``logging``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from transfer.environment import main_process

Verbosity = Literal["quiet", "info", "debug"]
EVERY = 30.0  # seconds between two progress lines where there is no terminal
_ROOT = logging.getLogger("transfer")
_log = logging.getLogger(__name__)


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what ``sys.stderr`` is at the moment: a progress bar replaces it while it is drawn."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def show(verbosity: Verbosity = "info") -> None:
    """Show log lines on stderr: of the main process, or with "debug" of all and more of them; "quiet" shows none."""
    hide()
    if verbosity == "quiet" or not (main_process() or verbosity == "debug"):
        return
    rank = "" if main_process() else f"[process {os.environ.get('RANK')}] "
    handler = _Stderr()
    handler.setFormatter(logging.Formatter(f"%(asctime)s {rank}%(message)s", "%H:%M:%S"))
    _ROOT.addHandler(handler)
    _ROOT.setLevel(logging.DEBUG if verbosity == "debug" else logging.INFO)
    _ROOT.propagate = False


def hide() -> None:
    """Undo :func:`show`."""
    for handler in [handler for handler in _ROOT.handlers if isinstance(handler, _Stderr)]:
        _ROOT.removeHandler(handler)
        _ROOT.setLevel(logging.NOTSET)
    _ROOT.propagate = True


@contextmanager
def copied(path: Path, *, here: bool = True) -> Iterator[None]:
    """Append the log lines of this context to a file, on the process that is ``here``."""
    if not here:
        yield
        return
    handler = logging.FileHandler(path, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk must not end a run here
    level = _ROOT.level
    _ROOT.setLevel(min(level, logging.INFO) if level else logging.INFO)
    _ROOT.addHandler(handler)
    try:
        yield
    finally:
        _ROOT.removeHandler(handler)
        _ROOT.setLevel(level)
        with suppress(OSError):
            handler.close()


def track(items: Any, label: str, *, shown: bool, total: int | None = None) -> Iterable[Any]:
    """Walk over items with a progress bar when ``shown`` and stderr is a terminal, else with a log line now and then.

    ``total``: how many there will be; None: their length.
    """
    if not shown:
        return items
    count = len(items) if total is None else total
    return _bar(items, label, count) if sys.stderr.isatty() else _lines(items, label, count)


def _bar(items: Any, label: str, total: int) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, description=label, total=total, console=Console(stderr=True), transient=True)


def _lines(items: Any, label: str, total: int) -> Iterator[Any]:
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last >= EVERY:
            _log.info("%s: %d of %d, %s left", label, done, total, duration((now - start) / done * (total - done)))
            last = now
        yield item


def duration(seconds: float) -> str:
    """Return seconds as people read them: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
