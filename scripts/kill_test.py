"""Kill a run with SIGKILL at random times, restart it until it finishes, compare it with an uninterrupted run.

    python scripts/kill_test.py                                  # 50 kills, a few minutes on two cores
    python scripts/kill_test.py --kills 3
    python scripts/kill_test.py --kills 10 --processes 2         # torchrun and its processes, all killed
    python scripts/kill_test.py --kills 20 --method imp          # or gmp

The run is a small recipes.digits: a random ResNet-20 on images of 8 px, two epochs of 11 steps, saved after every
step; px or gmp in 10 rounds, or imp in 2 that rewind to step 13. One process is forked from a server that has only
imported the packages; several are a torchrun. The delay of a kill, from when the start begins to work in its folder,
is uniform over the time that an uninterrupted run takes from there to its result. A run that finishes is compared, and
the next one starts in a new folder, until there were enough kills.

Prints one JSON object: kills; finished (runs compared); phases (kills by what was on the disk: "pruning" before the
masks, "training", "finishing" once all epochs are done, "finished"); compared (files of a run); different (of them,
those that are not the bytes of the undisturbed run's); left_over and missing (files that one of the two does not have);
failures (exit codes other than 0 of runs that were not killed); seconds. All files are compared but timing.json,
environment.json, log.txt and .lock. The exit code is 1 if there is a difference or a failure.
"""

import argparse
import collections
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PROCESSES = multiprocessing.get_context("forkserver")
PRELOAD = ["transfer.runs.run", "recipes.digits", "timm", "matplotlib.pyplot", "sklearn.datasets"]
APART = {"timing.json", "environment.json", "log.txt", ".lock"}  # times, and what only an open run needs
PRUNINGS: dict[str, dict[str, Any]] = {
    "px": {"rounds": 10}, "imp": {"rounds": 2, "options": ("rewind=13",)}, "gmp": {"rounds": 10},
}  # fmt: skip
EPOCHS = 2
LIMIT = 300.0  # seconds that one start may take


def run(out: Path, method: str) -> None:
    """Do the small run."""
    import transfer
    from recipes.digits import RECIPE

    recipe = replace(
        RECIPE,
        backbone="random:resnet20",
        data=replace(RECIPE.data, size=8),
        prune=replace(RECIPE.prune, method=method, **PRUNINGS[method]),
        train=replace(RECIPE.train, epochs=EPOCHS, batch=128, save_minutes=0.0, precision="no"),
    )
    transfer.run(recipe, out=out)


class Start:
    """One start of the run: a forked process, or torchrun with several."""

    def __init__(self, out: Path, method: str, processes: int) -> None:
        self._forked: BaseProcess | None = None
        if processes == 1:
            self._forked = PROCESSES.Process(target=run, args=(out, method))
            self._forked.start()
        else:
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
            work = [str(processes), __file__, "--method", method, "--work", str(out)]
            self._torchrun = subprocess.Popen([*command, *work])

    def code(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._forked.exitcode if self._forked is not None else self._torchrun.poll()

    def kill(self) -> None:
        """Send SIGKILL to all its processes and wait until they have ended."""
        if self._forked is not None:
            self._forked.kill()
            self._forked.join()
            return
        children = []
        if self._torchrun.poll() is None:
            self._torchrun.send_signal(signal.SIGSTOP)  # so that it starts no process meanwhile
            pid = self._torchrun.pid
            children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._torchrun.kill()
        self._torchrun.wait()
        wait_until(lambda: not any(map(alive, children)))


def alive(pid: int) -> bool:
    """Return whether a process runs, not counting zombies."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition: Any, seconds: float = LIMIT) -> None:
    """Wait for a condition, at most ``seconds``."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)


def working(out: Path) -> int:
    """Return a number that changes when a start begins to work in the folder."""
    return sum(path.stat().st_mtime_ns for path in out.glob("*/environment.json"))


def begun(out: Path, method: str, processes: int) -> Start:
    """Start the run and wait until it works in its folder, or has ended."""
    before = working(out)
    start = Start(out, method, processes)
    wait_until(lambda: working(out) != before or start.code() is not None)
    return start


def killed(start: Start, delay: float) -> int | None:
    """Kill a start after ``delay`` seconds; return the exit code if it ended before, else None."""
    wait_until(lambda: start.code() is not None, delay)
    ended = start.code()
    start.kill()
    return ended


def undisturbed(out: Path, method: str, processes: int) -> tuple[Path, float]:
    """Return the folder of an uninterrupted run, and the seconds from its start of work there to its result."""
    start = begun(out, method, processes)
    since = time.monotonic()
    wait_until(lambda: bool(list(out.glob("*/result.json"))) or start.code() is not None)
    took = time.monotonic() - since
    if killed(start, LIMIT) != 0:
        raise SystemExit("the run fails without being disturbed")
    (folder,) = out.iterdir()
    return folder, took


def phase(out: Path) -> str:
    """Return the phase of a run, judging by its files."""
    (folder,) = out.iterdir()
    if (folder / "result.json").exists():
        return "finished"
    if not (folder / "masks.safetensors").exists():
        return "pruning"
    metrics = folder / "metrics.jsonl"
    done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    return "finishing" if done == EPOCHS else "training"


def content(folder: Path) -> dict[str, bytes]:
    """Return the content of every compared file under a folder."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(files.items()) if name not in APART}


def test(kills: int, seed: int, method: str, processes: int, out: Path) -> dict[str, Any]:
    """Run the test; return what the script prints."""
    since, draw = time.monotonic(), random.Random(seed)
    imports = PROCESSES.Process(target=int)  # imports now, so that later starts need not
    imports.start()
    imports.join(LIMIT)
    folder, took = undisturbed(out / "whole", method, processes)
    whole = content(folder)
    phases: collections.Counter[str] = collections.Counter()
    found: dict[str, list[Any]] = {"different": [], "left_over": [], "missing": [], "failures": []}
    finished = 0
    while sum(phases.values()) < kills or not finished:
        here = out / f"run-{finished}"
        code: int | None = None
        while code is None:
            enough = sum(phases.values()) >= kills
            code = killed(begun(here, method, processes), LIMIT if enough else draw.uniform(0, took))
            if code is None and enough:
                raise SystemExit(f"a start took more than {LIMIT:g} seconds")
            if code is None:
                phases[phase(here)] += 1
        (folder,) = here.iterdir()
        ended = content(folder)
        finished += 1
        found["failures"] += [code] if code else []
        found["different"] += [name for name in whole if name in ended and ended[name] != whole[name]]
        found["left_over"] += sorted(ended.keys() - whole.keys())
        found["missing"] += sorted(whole.keys() - ended.keys())
    return {
        "kills": sum(phases.values()), "finished": finished, "phases": dict(phases), "compared": list(whole), **found,
        "method": method, "processes": processes, "undisturbed_s": round(took, 1),
        "seconds": round(time.monotonic() - since, 1),
    }  # fmt: skip


def main() -> None:
    """Parse the options, run the test, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="minimum number of kills (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times of the kills")
    parser.add_argument("--processes", type=int, default=1, help="processes per run (default 1)")
    parser.add_argument("--method", choices=list(PRUNINGS), default="px")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        run(options.work, options.method)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    PROCESSES.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as folder:
        found = test(options.kills, options.seed, options.method, options.processes, Path(folder))
    print(json.dumps(found))
    sys.exit(any(found[key] for key in ("different", "left_over", "missing", "failures")))


if __name__ == "__main__":
    main()
