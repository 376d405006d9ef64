"""Processes that are forked from one that has imported everything: a start does not take seconds of imports.

The one that they are forked from has done nothing else; a fork of the tests' own process would break torch's threads.
"""

import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

FORKS = multiprocessing.get_context("forkserver")
IMPORTED = [
    "transfer.runs.run",
    "transfer.recipe_cli",
    "recipes.digits",
    "timm",
    "matplotlib.figure",
    "sklearn.datasets",
]
LIMIT = 300.0  # seconds that a process may take


def ready() -> None:
    """Start the process that the others are forked from, unless it runs; they have one thread."""
    FORKS.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()


@dataclass(frozen=True)
class Started:
    """Processes that run, and where what they print is written."""

    processes: list[BaseProcess]
    folder: Path

    def codes(self) -> list[int | None]:
        """Wait for all; return their exit codes."""
        for process in self.processes:
            process.join(LIMIT)
            if process.exitcode is None:
                process.kill()
                process.join()
                raise AssertionError(f"no end after {LIMIT:g} s: {self.err}")
        return [process.exitcode for process in self.processes]

    @property
    def out(self) -> str:
        """What they have printed by now, one after another."""
        return self._said("out")

    @property
    def err(self) -> str:
        """The same of stderr."""
        return self._said("err")

    def _said(self, which: str) -> str:
        return "".join((self.folder / f"{rank}.{which}").read_text() for rank in range(len(self.processes)))


def start(
    function: Callable[..., object], *given: Any, folder: Path, world: int = 1,
    environment: Mapping[str, str | None] | None = None, group: bool = False,
) -> Started:  # fmt: skip
    """Call a function of a module in a process of its own, or in several that a launcher like torchrun tells of.

    Args:
        function: found again by its name.
        given: its arguments, which can be pickled.
        folder: for what is printed.
        world: how many processes.
        environment: what differs from this process's environment.
        group: whether each begins a process group.
    """
    ready()
    folder.mkdir(parents=True, exist_ok=True)
    about = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    if world > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        size = str(world)
        about |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    processes: list[BaseProcess] = []
    for rank in range(world):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {}
        for which in ("out", "err"):
            (folder / f"{rank}.{which}").touch()
        work = ({**about, **own}, str(folder / str(rank)), group, function, given)
        processes.append(FORKS.Process(target=_begin, args=work))
        processes[-1].start()
    return Started(processes, folder)


def run(function: Callable[..., object], *given: Any, **settings: Any) -> Started:
    """Start, wait, and see that all went well; the settings are those of ``start``."""
    done = start(function, *given, **settings)
    codes = done.codes()
    assert codes == [0] * len(codes), done.err
    return done


def _begin(
    environment: dict[str, str], name: str, group: bool, function: Callable[..., object], given: tuple[Any, ...]
) -> None:
    for descriptor, which in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.{which}", os.O_WRONLY | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    if group:
        os.setsid()
    try:
        function(*given)
    except KeyboardInterrupt:  # a Python that runs a script ends by the signal
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None


def module(name: str, *words: str) -> None:
    """Do what ``python -m name words`` does."""
    sys.argv[1:] = words
    sys.modules.pop(name, None)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that one worker of pytest-xdist fills, for all of them."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once-{name}"
    with FileLock(f"{folder}.lock"):
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder
