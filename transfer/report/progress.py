"""Progress bars on stderr, only in a terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any


def track(items: Any, label: str, *, shown: bool) -> Iterable[Any]:
    """Walk over items of known length, with a progress bar when ``shown`` and stderr is a terminal."""
    return _bar(items, label) if shown and sys.stderr.isatty() else items


def _bar(items: Any, label: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, description=label, total=len(items), console=Console(stderr=True), transient=True)
