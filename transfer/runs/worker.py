"""What a worker process of a comparison does: run the cells it is given, one after another, until nobody asks."""

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

from transfer.recipe import Recipe
from transfer.runs.cell import NAMED, Cell
from transfer.runs.run import Result
from transfer.runs.shelf import Shelf


@dataclass(frozen=True)
class Said:
    """A warning."""

    text: str
    kind: type[Warning]


@dataclass(frozen=True)
class Done:
    """A finished cell."""

    result: Result


@dataclass(frozen=True)
class Failed:
    """An error that ends the comparison: how it is made again in another process."""

    kind: type[Exception]
    content: tuple[Any, ...]


def serve(asked: Connection, threads: int, like: Recipe, tried: Iterable[str]) -> None:
    """Run what comes through the pipe, with so many threads, and answer with ``Said``, then ``Done`` or ``Failed``.

    Ends when the pipe closes. Ctrl-C is for the parent; its SIGTERM ends a run as it ends any: saved, exit code 143.
    Without a parent the worker sends itself that signal. ``like`` is one of the recipes: backbone and data are loaded
    for it without the warnings that the parent has given, and ``tried`` is what the parent's shelf saw tried.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    shelf = Shelf(tried)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shelf.backbone(like.backbone, like.seed)
    warnings.showwarning = lambda message, category, *_, **__: _say(asked, Said(str(message), category))
    try:
        while True:
            asked.send(_answer(asked.recv(), shelf))
    except (EOFError, ConnectionError):  # no more cells, or no parent
        return


def _say(asked: Connection, said: Said) -> None:
    with suppress(ConnectionError):  # the parent listens no more: what the run is at is still to be saved
        asked.send(said)


def _answer(cell: Cell, shelf: Shelf) -> Done | Failed:
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
