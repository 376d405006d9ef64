"""The tests run on the CPU unless -m gpu asks for more; what those of the command line share."""

import gc
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator

import pytest

from transfer import log

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # workers side by side, and what they start, divide the cores
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))))

# a shell that starts the tests in the background lets Ctrl-C be ignored, in them and in the processes they start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Hide the GPUs, also from the processes that tests start: two would fight for one; keep caches to the tests."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if "TRANSFER_HOME" not in os.environ:  # what is made on first use does not go into the user's cache
        home = tempfile.TemporaryDirectory(prefix="px-transfer-tests-")
        config.add_cleanup(home.cleanup)
        os.environ["TRANSFER_HOME"] = home.name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return one worker for the tests of a GPU, of which there may be one; None: as many as there are cores."""
    return 1 if config.option.markexpr == "gpu" else None


def pytest_collection_finish() -> None:
    """Take what was imported so far out of the garbage collector's walks: every fine-tuning ends with a whole one."""
    gc.collect()
    gc.freeze()


Outcome = tuple[int, str, str]
Ended = Callable[[Callable[[], object]], Outcome]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Ended]:
    """Make a call of the command line in this process, where torch is loaded already: exit code, stdout, stderr.

    What such a call sets in the process is put back.
    """
    before, shown = signal.getsignal(signal.SIGTERM), warnings.showwarning
    monkeypatch.setattr(sys, "argv", ["transfer"])

    def run(call: Callable[[], object]) -> Outcome:
        capfd.readouterr()
        code = 0
        try:
            call()
        except SystemExit as left:
            code = int(left.code or 0)
        return code, *capfd.readouterr()

    yield run
    log.hide()
    signal.signal(signal.SIGTERM, before)
    warnings.showwarning = shown


@pytest.fixture
def command(ended: Ended) -> Callable[..., Outcome]:
    """Run ``transfer ...`` in this process."""
    from transfer import cli

    return lambda *words: ended(lambda: cli.main(words))
