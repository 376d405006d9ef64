"""Kill a run with SIGKILL at random moments, restart it until it is done, compare it with one that nobody disturbed.

    python scripts/kill_test.py                # 50 kills, a few minutes on two cores
    python scripts/kill_test.py --kills 3

The run is recipes.digits, made small: a random ResNet-20 on images of 8 px, px in 10 rounds, two epochs of 11 steps,
saved after every step. Each start is a process of its own, forked from one that has imported everything and done
nothing. A kill comes at a moment drawn evenly from those after the run made its folder. A run that finishes is
compared, and the next one starts in a new folder, until there were enough kills.

Prints one JSON object: kills; finished (runs compared); phases (kills by what was on the disk: "nothing", "pruning"
before the masks, "training", "finishing" once all epochs are done, "finished"); different (files that are not those of
the undisturbed run, bit for bit); left_over (files that it does not have); failures (exit codes other than 0 of runs
that were not killed); seconds. The exit code is 1 if there is a difference, a left-over file or a failure.
"""

import argparse
import collections
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PROCESSES = multiprocessing.get_context("forkserver")
PRELOAD = ["transfer.runner", "recipes.digits", "timm", "matplotlib.pyplot", "sklearn.datasets"]
SAME = ("recipe.json", "masks.safetensors", "model.safetensors", "best.safetensors", "metrics.jsonl", "result.json")
LIMIT = 300.0  # seconds that one start may take


def run(out: Path) -> None:
    """Do the small run."""
    import transfer
    from recipes.digits import RECIPE

    recipe = replace(
        RECIPE,
        backbone="random:resnet20",
        data=replace(RECIPE.data, size=8),
        prune=replace(RECIPE.prune, rounds=10),
        train=replace(RECIPE.train, epochs=2, batch=128, save_minutes=0.0, precision="no"),
    )
    transfer.run(recipe, out=out)


def start(out: Path) -> BaseProcess:
    """Start the run in a process of its own."""
    process = PROCESSES.Process(target=run, args=(out,))
    process.start()
    return process


def undisturbed(out: Path) -> tuple[Path, float, float]:
    """Return a whole run's folder, the seconds until the folder was there, and the seconds until the end."""
    begun = time.monotonic()
    process = start(out)
    while not list(out.glob("*")) and process.is_alive():
        time.sleep(0.005)
    made = time.monotonic() - begun
    process.join(LIMIT)
    if process.exitcode != 0:
        raise SystemExit("the run fails without being disturbed")
    (folder,) = out.iterdir()
    return folder, made, time.monotonic() - begun


def phase(out: Path, epochs: int) -> str:
    """Say how far a run came, by what is on the disk."""
    folder = next(iter(out.glob("*")), None)
    if folder is None:
        return "nothing"
    if (folder / "result.json").exists():
        return "finished"
    if not (folder / "masks.safetensors").exists():
        return "pruning"
    metrics = folder / "metrics.jsonl"
    done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    return "finishing" if done == epochs else "training"


def files(folder: Path) -> set[str]:
    """Return the names of all files under a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def killed(out: Path, delay: float) -> int | None:
    """Start the run and kill it after ``delay`` seconds; return the exit code if it ended before, else None."""
    process = start(out)
    process.join(delay)
    ended = process.exitcode
    process.kill()
    process.join()
    return ended


def test(kills: int, seed: int, out: Path) -> dict[str, Any]:
    """Return what the script prints."""
    began, draw = time.monotonic(), random.Random(seed)
    imports = PROCESSES.Process(target=int)  # the others do not wait for them
    imports.start()
    imports.join(LIMIT)
    whole, made, ended = undisturbed(out / "whole")
    expected = {name: (whole / name).read_bytes() for name in SAME}
    phases: collections.Counter[str] = collections.Counter()
    different: list[str] = []
    left_over: list[str] = []
    failures: list[int] = []
    finished = 0
    while sum(phases.values()) < kills or not finished:
        here = out / f"run-{finished}"
        for _ in range(kills + 2):
            enough = sum(phases.values()) >= kills
            code = killed(here, LIMIT if enough else draw.uniform(made, ended))
            if code is not None:
                failures += [code] if code else []
                break
            phases[phase(here, len(expected["metrics.jsonl"].splitlines()))] += 1
        (folder,) = here.iterdir()
        finished += 1
        different += [name for name in SAME if not _equal(folder / name, expected[name])]
        left_over += sorted(files(folder) - files(whole))
    return {
        "kills": sum(phases.values()), "finished": finished, "phases": dict(phases), "different": different,
        "left_over": left_over, "failures": failures, "undisturbed_s": round(ended, 1),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _equal(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


def main() -> None:
    """Read the command line, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how many kills at least")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    PROCESSES.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as folder:
        found = test(options.kills, options.seed, Path(folder))
    print(json.dumps(found))
    sys.exit(bool(found["different"] or found["left_over"] or found["failures"]))


if __name__ == "__main__":
    main()
