"""Run cells one after another, or in parallel worker processes that never outlive this one."""

import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

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
STARTS = 2  # of a cell whose worker dies

Outcome = Result | Exception
"""What became of a cell."""
Outcomes = Generator[tuple[int, Outcome], None, None]


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
    """Run all cells as :func:`outcomes` does, until one fails; return their results in the order of the cells.

    Raises:
        InputError, RunError, torch.OutOfMemoryError, OSError: a cell failed; the message names it.
    """
    results: dict[int, Result] = {}
    with closing(outcomes(cells, workers=workers, shelf=shelf, progress=progress)) as found:
        for number, outcome in found:
            if isinstance(outcome, Exception):
                raise outcome
            results[number] = outcome
    return [results[number] for number in range(len(cells))]


def outcomes(cells: Sequence[Cell], *, workers: int, shelf: Shelf, progress: bool = False) -> Outcomes:
    """Run all cells, ``workers`` at a time; yield the number of each that has ended, with its result or its error.

    One worker is this process; several are processes with equal shares of its threads. A cell whose worker dies goes on
    in a fresh one, once, from what was saved; then it has failed. When the iterator is closed or a signal arrives,
    workers save, stop and are joined; a second signal kills them at once. If this process is killed, they save and stop
    by themselves.
    """
    with Board(len(cells), shown=progress, live=workers > 1) as board:
        if workers == 1:
            yield from _here(cells, shelf, board, progress)
            return
        with _Pool(workers, cells[0], shelf) as pool:
            yield from _shared_out(cells, pool, board)


def _here(cells: Sequence[Cell], shelf: Shelf, board: Board, progress: bool) -> Outcomes:
    for number, cell in enumerate(cells):
        yield number, _attempt(cell, shelf, board, progress)


def _attempt(cell: Cell, shelf: Shelf, board: Board, progress: bool) -> Outcome:
    board.begin(str(cell))
    try:
        return cell.run(shelf, progress=progress)
    except Exception as error:
        _forget_locals(error)
        return error
    finally:
        board.end(str(cell))


def _forget_locals(error: BaseException | None) -> None:
    """Let go of what the frames of an error and of its causes hold, such as a model; the tracebacks stay readable."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@dataclass(frozen=True)
class _Died:
    code: int | None

    def error(self, cell: Cell) -> RunError:
        return RunError(
            f"{cell}: its worker process died (exit code {self.code}), as the one before it; what was saved is kept"
        )


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    gpu: str | None

    def give(self, cell: Cell) -> None:
        with suppress(OSError):  # it died: its answer says so
            self.pipe.send(cell)

    def answer(self) -> Said | Done | Failed | _Died:
        try:
            said: Said | Done | Failed = self.pipe.recv()
            return said
        except (EOFError, OSError):
            self.process.join()
            return _Died(self.process.exitcode)


class _Pool:
    """Worker processes, each with one of several GPUs; on exit they are stopped, whatever happens."""

    def __init__(self, number: int, like: Cell, shelf: Shelf) -> None:
        self._threads = max(1, min(torch.get_num_threads(), cores() // number))
        self._number, self._like, self._shelf = number, like, shelf
        self.workers: list[_Worker] = []

    def __enter__(self) -> "_Pool":
        try:
            for number in range(self._number):
                self.workers.append(self._started(gpu_of(number, torch.cuda.device_count())))
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def replaced(self, dead: _Worker) -> _Worker:
        """Start a worker in the place of one that died."""
        dead.pipe.close()
        self.workers.remove(dead)
        self.workers.append(self._started(dead.gpu))
        return self.workers[-1]

    def _started(self, gpu: str | None) -> _Worker:
        return _start(self._threads, self._like, self._shelf, gpu)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for worker in self.workers:
                worker.process.terminate()
        for worker in self.workers:
            worker.pipe.close()  # ends idle workers, and one whose run failed as the signal arrived
        try:
            for worker in self.workers:
                worker.process.join()
        finally:
            for worker in self.workers:
                worker.process.kill()


def _shared_out(cells: Sequence[Cell], pool: _Pool, board: Board) -> Outcomes:
    waiting, starts = deque(range(len(cells))), [0] * len(cells)
    busy: dict[Connection, tuple[_Worker, int]] = {}

    def give(worker: _Worker, number: int) -> None:
        starts[number] += 1
        busy[worker.pipe] = worker, number
        worker.give(cells[number])

    def next_to(worker: _Worker) -> None:
        if waiting:
            board.begin(str(cells[waiting[0]]))
            give(worker, waiting.popleft())

    for worker in pool.workers:
        next_to(worker)
    while busy:
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            worker, number = busy[pipe]
            answer = worker.answer()
            if isinstance(answer, Said):
                warnings.warn(answer.text, answer.kind, stacklevel=2)
                continue
            del busy[pipe]
            if isinstance(answer, _Died):
                worker = pool.replaced(worker)
                if starts[number] < STARTS:
                    warnings.warn(_again(cells[number], answer), stacklevel=2)
                    give(worker, number)
                    continue
            board.end(str(cells[number]))
            yield number, _outcome(answer, cells[number])
            next_to(worker)


def _outcome(answer: Done | Failed | _Died, cell: Cell) -> Outcome:
    match answer:
        case Done(result):
            return result
        case Failed():
            return answer.error()
        case _Died():
            return answer.error(cell)


def _again(cell: Cell, died: _Died) -> str:
    return f"{cell}: its worker process died (exit code {died.code}); a fresh one goes on from what was saved"


def gpu_of(number: int, count: int) -> str | None:
    """Return the GPU of a worker where there are several, as CUDA_VISIBLE_DEVICES names it: they take turns."""
    if count < 2:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(each) for each in range(count)]
    return names[number % count].strip()


def _start(threads: int, like: Cell, shelf: Shelf, gpu: str | None) -> _Worker:
    spawn = multiprocessing.get_context("spawn")  # fork would break CUDA and torch's threads
    here, there = spawn.Pipe()
    process = spawn.Process(
        target=serve, args=(there, threads, like.recipe, frozenset(shelf.tried), tuple(plugins.imported), gpu)
    )
    with _ctrl_c_ignored():
        process.start()
    there.close()  # so that the pipe closes when the worker ends
    return _Worker(process, here, gpu)


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
