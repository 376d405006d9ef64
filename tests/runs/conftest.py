"""Runs of this folder draw no plots unless they are asked to: matplotlib would take half of their time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from transfer.report import plots

Drawing = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="package", autouse=True)
def drawing() -> Iterator[Drawing]:
    """Write a few bytes for a plot; what this returns is a context in which plots are drawn."""
    write = plots._write

    def mark(figure: Any, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not drawn")

    @contextmanager
    def drawn() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plots, "_write", write)
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_write", mark)
        yield drawn
