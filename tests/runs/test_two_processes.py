"""Two processes on loopback: they really are two, and they make the masks that one makes."""

import json
import os
import subprocess
import sys
from pathlib import Path

FLAGS = ["-m", "recipes.digits", "--train.epochs", "1", "--prune.rounds", "2", "--prune.batch", "16"]


def run(out: Path, *launcher: str) -> tuple[dict, dict, str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *FLAGS, "--out", str(out)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = out.iterdir()
    return (*(json.loads((folder / f"{name}.json").read_text()) for name in ("result", "environment")), done.stdout)


def test_two_processes_make_the_masks_of_one(tmp_path):
    one, alone, _ = run(tmp_path / "one")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two, together, printed = run(tmp_path / "two", *launcher)
    assert (alone["processes"], together["processes"]) == (1, 2)
    assert two["masks_digest"] == one["masks_digest"]
    assert two["pruning_set"] == one["pruning_set"]
    assert printed.count("accuracy") == 1, "only the main process prints"
