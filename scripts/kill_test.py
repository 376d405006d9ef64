"""Kill a run with SIGKILL at random moments, restart it until it is done, compare it with one that nobody disturbed.

    python scripts/kill_test.py                # 50 kills, about ten minutes on two cores
    python scripts/kill_test.py --kills 3      # half a minute

The run is recipes.digits, made small: a random ResNet-20 on images of 8 px, px in 20 rounds, two epochs, saved after
every step. A kill comes at a moment drawn evenly from those after the run made its folder. A run that finishes is
compared, and the next one starts in a new folder, until there were enough kills.

Prints one JSON object: kills; finished (runs compared); phases (kills by what was on the disk: nothing, "pruning" before
the masks, "training", "finishing" once all epochs are done, "finished"); different (files that are not those of the
undisturbed run, bit for bit); left_over (files that it does not have); failures (exit codes other than 0 of runs that
were not killed); seconds. The exit code is 1 if there is a difference, a left-over file or a failure.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = (
    "-m", "recipes.digits", "--backbone", "random:resnet20", "--data.size", "8", "--prune.rounds", "20",
    "--train.epochs", "2", "--train.save-minutes", "0", "--train.precision", "no",
)  # fmt: skip
SAME = ("recipe.json", "masks.safetensors", "model.safetensors", "best.safetensors", "metrics.jsonl", "result.json")
LIMIT = 300.0  # seconds that one start may take


def start(out: Path) -> subprocess.Popen[bytes]:
    """Start the run, in a session of its own, so that a kill reaches all its processes."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, *COMMAND, "--out", str(out)], start_new_session=True, stdout=quiet)


def undisturbed(out: Path) -> tuple[Path, float, float]:
    """Return a whole run's folder, the seconds until the folder was there, and the seconds until the end."""
    begun = time.monotonic()
    process = start(out)
    while not list(out.glob("*")) and process.poll() is None:
        time.sleep(0.005)
    made = time.monotonic() - begun
    if process.wait(LIMIT) != 0:
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
    try:
        return process.wait(delay)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(LIMIT)
        return None


def test(kills: int, seed: int, out: Path) -> dict[str, Any]:
    """Return what :mod:`scripts.kill_test` prints."""
    began, draw = time.monotonic(), random.Random(seed)
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
    with tempfile.TemporaryDirectory() as folder:
        found = test(options.kills, options.seed, Path(folder))
    print(json.dumps(found))
    sys.exit(bool(found["different"] or found["left_over"] or found["failures"]))


if __name__ == "__main__":
    main()
