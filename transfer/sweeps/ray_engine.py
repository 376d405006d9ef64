"""The engine ``ray``: cells as tasks of a Ray cluster, with Ray's own scheduling and retries."""

import functools
import os
import signal
import socket
import subprocess
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from checkpoints.errors import InputError, reason
from checkpoints.files import write_json
from transfer import plugins
from transfer.errors import RunError
from transfer.runs.cell import Cell
from transfer.runs.folder import RUNNING, Held
from transfer.runs.shelf import Shelf
from transfer.runs.worker import Done, Failed, answer
from transfer.runs.workers import Outcome, Outcomes
from transfer.sweeps.commands import words
from transfer.sweeps.sweep import Engine

RETRIES = 1  # of a cell whose process or node dies, as in the local engine
REACH = 10.0  # seconds for an address to answer
LEAVE = 60.0  # seconds for cells to save when the sweep is stopped


def connected(*, address: str = "auto", workers: int | None = None, gpus: float = 0.0, cpus: int = 1) -> Engine:
    """Connect to a cluster and return the engine that runs cells there.

    Args:
        address: "auto" = the cluster that runs on this machine or that RAY_ADDRESS names; "ray://host:port" or
            "host:port"; "local" = a cluster of this machine alone, which ends with the sweep.
        workers: cells at a time; None = as many as the cluster has room for.
        gpus: GPUs per cell: a fraction, or a whole number from 1 on; several are used as torchrun does, on one node.
        cpus: CPUs per cell, which are also its threads.

    Raises:
        InputError: Ray is not installed, the address does not answer, or a number is out of range.
    """
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise InputError(f"gpus-per-cell is {gpus:g}; give a fraction up to 1 or a whole number")
    if cpus < 1 or (workers is not None and workers < 1):
        raise InputError(f"cpus-per-cell is {cpus} and workers {workers}; give 1 or more")
    ray = _ray()

    def connect() -> None:
        with _own_sigterm():
            _connect(ray, address, None if workers is None else workers * cpus)

    connect()
    there = os.getcwd()
    task = ray.remote(max_retries=RETRIES, num_gpus=gpus, num_cpus=cpus)(run_cell)

    def run(cells: Sequence[Cell], shelf: Shelf) -> Outcomes:
        if not ray.is_initialized():  # it has ended with the cells before
            connect()
        submit = functools.partial(
            task.remote, tried=frozenset(shelf.tried), modules=tuple(plugins.imported), threads=cpus,
            processes=max(1, int(gpus)), folder=there,
        )  # fmt: skip
        return _outcomes(ray, submit, cells, workers or len(cells))

    return run


def _outcomes(ray: Any, submit: Any, cells: Sequence[Cell], most: int) -> Outcomes:
    waiting, running = deque(range(len(cells))), dict[Any, int]()
    try:
        while waiting or running:
            while waiting and len(running) < most:
                number = waiting.popleft()
                running[submit(cells[number])] = number
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(ready)
            yield number, _outcome(ray, ready, cells[number])
    finally:
        for each in running:  # as Ctrl-C does: the cells save and stop
            ray.cancel(each)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=LEAVE)
        ray.shutdown()


def _outcome(ray: Any, ready: Any, cell: Cell) -> Outcome:
    try:
        found, said = ray.get(ready)
    except ray.exceptions.RayError as error:
        return RunError(f"{cell}: {reason(error)}")
    for text in said:
        warnings.warn(text, stacklevel=2)
    return found.result if isinstance(found, Done) else found.error()


def run_cell(
    cell: Cell, *, tried: frozenset[str], modules: tuple[str, ...], threads: int, processes: int, folder: str
) -> tuple[Done | Failed, list[str]]:
    """Run a cell in a process of the cluster; return the answer and what it warned of.

    Args:
        cell: the cell; its folder must be the same on all nodes.
        tried: :attr:`Shelf.tried` of the process that submits.
        modules: what that process was told to import.
        threads: torch threads.
        processes: how many processes train together; more than one are started by torchrun.
        folder: the working folder of the process that submits, to which relative paths belong.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        what = f"{cell}: folder {folder}, where the sweep was started, is not on this node ({error.strerror})"
        return Failed(InputError, (what,)), []
    torch.set_num_threads(threads)
    for module in modules:
        plugins.load(module)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        failed = launched(cell, processes) if processes > 1 else None
        found = failed or answer(cell, _shelf(tried))
    return found, [str(each.message) for each in caught if issubclass(each.category, UserWarning)]


def launched(cell: Cell, processes: int) -> Failed | None:
    """Run a cell in several processes of this machine; return None if it has finished."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.json"
        write_json(file, cell.recipe.to_dict())
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes))
        ended = subprocess.run(words(file, cell.out, launcher), capture_output=True, text=True, check=False)
    if not ended.returncode:
        return None
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    what = errors[0].removeprefix("error: ") if errors else f"torchrun ended with exit code {ended.returncode}"
    return Failed(Held if what.startswith(RUNNING) else RunError, (f"{cell}: {what}",))


@functools.lru_cache(maxsize=1)
def _shelf(tried: frozenset[str]) -> Shelf:
    """Return the shelf of this process, which Ray gives one cell after another."""
    return Shelf(tried)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError("--engine ray needs Ray; pip install 'px-transfer[ray]'") from error
    return ray


def _connect(ray: Any, address: str, cpus: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        return
    if address != "auto":
        _reach(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ImportError, TimeoutError) as error:
        raise InputError(
            f"no Ray cluster at address {address} ({reason(error)}); start one with ray start --head, or give "
            "--address local"
        ) from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Put this process's handler of SIGTERM back, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _reach(address: str) -> None:
    """Raise InputError if nobody listens at the address: Ray itself would try for minutes, or end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"address is {address!r}; give auto, local, host:port or ray://host:port")
    try:
        socket.create_connection((host, int(port)), timeout=REACH).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"nobody answers at {address} ({reason(error)}); is Ray running there?") from error
