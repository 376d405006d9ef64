"""Run the cells of a comparison one after another, or in parallel worker processes that never outlive this one."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from checkpoints.errors import InputError
from transfer import plugins
from transfer.data.workers import cores
from transfer.errors import RunError
from transfer.report.board import Board
from transfer.runs.cell import Cell
from transfer.runs.run import Result
from transfer.runs.shelf import Shelf
from transfer.runs.worker import Done, Failed, Said, serve

MOST = 4  # workers by default: each holds a model and its activations


def workers_for(asked: int | None, cells: int) -> int:
    """Return how many cells run at a time: ``asked``, at most one per cell.

    None = one per core up to 4, but one on a GPU or under a launcher.

    Raises:
        InputError: ``asked`` is below 1, or above 1 under torchrun or accelerate launch.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if asked is None:
        return 1 if launched or torch.accelerator.is_available() else min(cells, cores(), MOST)
    if asked < 1:
        raise InputError(f"workers is {asked}; give 1 or more")
    if launched and asked > 1:
        raise InputError(f"workers is {asked}, but a launcher started several processes for each run; leave it out")
    return min(asked, cells)


def run_cells(cells: Sequence[Cell], *, workers: int, shelf: Shelf, progress: bool = False) -> list[Result]:
    """Run all cells, ``workers`` at a time; return their results in the order of the cells.

    One worker is this process; several are processes with equal shares of its threads. When a cell fails or a signal
    arrives, workers save, stop and are joined; a second signal kills them at once. If this process is killed, they save
    and stop by themselves.

    Raises:
        InputError, RunError, torch.OutOfMemoryError, OSError: a cell failed; the message names it.
        RunError: a worker died.
    """
    with Board(len(cells), shown=progress, live=workers > 1) as board:
        if workers == 1:
            return [_here(cell, shelf, board, progress) for cell in cells]
        with _started(workers, cells[0], shelf) as pool:
            return _shared_out(cells, pool, board)


def _here(cell: Cell, shelf: Shelf, board: Board, progress: bool) -> Result:
    board.begin(str(cell))
    result = cell.run(shelf, progress=progress)
    board.end(str(cell))
    return result


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection

    def give(self, cell: Cell) -> None:
        try:
            self.pipe.send(cell)
        except OSError:
            raise self._died(cell) from None

    def answer(self, cell: Cell) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            raise self._died(cell) from None

    def _died(self, cell: Cell) -> RunError:
        self.process.join()
        return RunError(f"{cell}: its worker process died (exit code {self.process.exitcode}); what was saved is kept")


def _shared_out(cells: Sequence[Cell], pool: Sequence[_Worker], board: Board) -> list[Result]:
    waiting, results = deque(range(len(cells))), dict[int, Result]()
    busy: dict[Connection, tuple[_Worker, int]] = {}

    def give(worker: _Worker) -> None:
        if waiting:
            busy[worker.pipe] = worker, waiting.popleft()
            board.begin(str(cells[busy[worker.pipe][1]]))
            worker.give(cells[busy[worker.pipe][1]])

    for worker in pool:
        give(worker)
    while busy:
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            worker, number = busy[pipe]
            match worker.answer(cells[number]):
                case Said(text, kind):
                    warnings.warn(text, kind, stacklevel=2)
                case Failed(kind, content):
                    raise kind(*content)
                case Done(result):
                    results[number] = result
                    board.end(str(cells[number]))
                    del busy[pipe]
                    give(worker)
    return [results[number] for number in range(len(cells))]


@contextmanager
def _started(number: int, like: Cell, shelf: Shelf) -> Iterator[list[_Worker]]:
    """Start ``number`` workers; stop them on exit, whatever happens."""
    threads = max(1, min(torch.get_num_threads(), cores() // number))
    pool: list[_Worker] = []
    try:
        for _ in range(number):
            pool.append(_start(threads, like, shelf))
        yield pool
    except BaseException:
        for worker in pool:
            worker.process.terminate()
        raise
    finally:
        for worker in pool:
            worker.pipe.close()  # ends idle workers, and one whose run failed as the signal arrived
        try:
            for worker in pool:
                worker.process.join()
        finally:
            for worker in pool:
                worker.process.kill()


def _start(threads: int, like: Cell, shelf: Shelf) -> _Worker:
    spawn = multiprocessing.get_context("spawn")  # fork would break CUDA and torch's threads
    here, there = spawn.Pipe()
    process = spawn.Process(
        target=serve, args=(there, threads, like.recipe, frozenset(shelf.tried), tuple(plugins.imported))
    )
    with _ctrl_c_ignored():
        process.start()
    there.close()  # so that the pipe closes when the worker ends
    return _Worker(process, here)


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Make processes started in this context ignore Ctrl-C from the start: a terminal sends it to all of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
