"""Two processes on loopback, by torchrun: they really are two, and they make the masks that one makes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes

RECIPE = (
    "recipes.digits", "--backbone", "random:resnet20", "--data.size", "8", "--train.epochs", "1",
    "--train.batch", "256", "--prune.rounds", "2", "--prune.batch", "16", "--prune.per-class", "3", "--out",
)  # fmt: skip
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


def found(out: Path) -> tuple[dict, dict]:
    (folder,) = out.iterdir()
    return json.loads((folder / "result.json").read_text()), json.loads((folder / "environment.json").read_text())


@pytest.mark.slow
def test_two_processes_make_the_masks_of_one(tmp_path):
    processes.run(processes.module, *RECIPE, str(tmp_path / "one"), folder=tmp_path / "said")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, *RECIPE, str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (one, alone), (two, together) = found(tmp_path / "one"), found(tmp_path / "two")
    assert (alone["processes"], together["processes"]) == (1, 2)
    assert two["masks_digest"] == one["masks_digest"]
    assert two["pruning_set"] == one["pruning_set"]
    assert done.stdout.count("accuracy") == 1, "only the main process prints"
