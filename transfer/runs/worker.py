"""A worker process of a comparison or a sweep: runs the cells that it receives until the pipe closes."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from transfer import plugins
from transfer.recipe import Recipe
from transfer.runs.cell import NAMED, Cell
from transfer.runs.run import Result
from transfer.runs.shelf import Shelf


@dataclass(frozen=True)
class Said:
    """A warning from a worker."""

    text: str
    kind: type[Warning]


@dataclass(frozen=True)
class Done:
    """A finished cell."""

    result: Result


@dataclass(frozen=True)
class Failed:
    """An error of a cell, as type and arguments to make it again in the parent process."""

    kind: type[Exception]
    content: tuple[Any, ...]

    def error(self) -> Exception:
        """Return the error."""
        return self.kind(*self.content)


def serve(
    asked: Connection, threads: int, like: Recipe, tried: Iterable[str], modules: Iterable[str] = (),
    gpu: str | None = None,
) -> None:  # fmt: skip
    """Run the cells that come through the pipe; answer each with ``Said`` for warnings, then ``Done`` or ``Failed``.

    Returns when the pipe closes. Ctrl-C is left to the parent; SIGTERM ends a run as usual: its state is saved, exit
    code 143. If the parent dies, the worker sends SIGTERM to itself.

    Args:
        asked: this end of the pipe.
        threads: torch threads of this process.
        like: a recipe whose backbone is loaded without the warnings that the parent has already shown.
        tried: :attr:`Shelf.tried` of the parent.
        modules: what the parent was told to import.
        gpu: the one GPU that this process shall see, as CUDA names it; None = all.
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA is first used here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    for module in modules:
        plugins.load(module)
    shelf = Shelf(tried)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shelf.backbone(like.backbone, like.seed)
    warnings.showwarning = lambda message, category, *_, **__: _say(asked, Said(str(message), category))
    try:
        while True:
            asked.send(answer(asked.recv(), shelf))
    except (EOFError, ConnectionError):  # no more cells, or the parent died
        return


def _say(asked: Connection, said: Said) -> None:
    with suppress(ConnectionError):  # the parent is gone, but the run still has to save its state
        asked.send(said)


def answer(cell: Cell, shelf: Shelf) -> Done | Failed:
    """Run a cell; a bug is answered as a RuntimeError that holds its traceback."""
    try:
        return Done(cell.run(shelf))
    except OSError as error:
        return Failed(OSError, (error.errno, error.strerror, error.filename))
    except NAMED as error:
        return Failed(type(error), (str(error),))
    except Exception:
        return Failed(RuntimeError, (f"{cell}:\n{traceback.format_exc()}",))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
