"""A run's command stopped by a signal within an epoch: its exit code, its words, and the same command goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transfer.training.checkpoint import State

COMMAND = (
    sys.executable, "-m", "recipes.digits", "--backbone", "random:resnet20", "--data.size", "8", "--prune.rounds", "1",
    "--train.epochs", "3",
)  # fmt: skip
PAUSE = 25  # the step, of 22 an epoch, in which the signal comes
PAUSES = f"""
import runpy, sys, time
from pathlib import Path
from transfer.training import loop
step, here = loop._Training.train_on, Path(sys.argv.pop(1))
def pausing(self, *batch):
    if self.step == {PAUSE}:
        (here / "reached").touch()
        while not (here / "signalled").exists():
            time.sleep(0.01)
    return step(self, *batch)
loop._Training.train_on = pausing
runpy.run_module("recipes.digits", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*COMMAND, "--out", str(out)], env=environment, check=True, capture_output=True)
    (folder,) = out.iterdir()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "words"), [(signal.SIGTERM, 143, ""), (signal.SIGINT, 130, "stopped; a run goes on from its last")]
)
def test_the_same_command_goes_on(sent: signal.Signals, code: int, words: str, whole: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    flags = [*COMMAND[3:], "--out", str(tmp_path / "stopped")]
    pausing = [sys.executable, "-c", PAUSES, str(tmp_path), *flags]
    with subprocess.Popen(pausing, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "reached").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(sent)
        (tmp_path / "signalled").touch()
        _, printed = process.communicate(timeout=300)
    assert process.returncode == code
    said = [line for line in printed.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]  # beside the log
    assert "\n".join(said).startswith(words)
    assert len(said) == bool(words)
    (folder,) = (tmp_path / "stopped").iterdir()
    saved = State(folder).load()
    assert saved is not None
    assert saved["scheduler_step"] == PAUSE + 1
    subprocess.run([*COMMAND[:3], *flags], env=environment, check=True, capture_output=True)
    for name in ("model.safetensors", "best.safetensors", "metrics.jsonl", "result.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert len(json.loads((folder / "timing.json").read_text())["epochs_s"]) == 3
    assert not list(folder.glob("state*"))
