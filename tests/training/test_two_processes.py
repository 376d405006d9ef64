"""Two processes on loopback train as one does: the same losses, one set of statistics, stopped and resumed together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from checkpoints import InputError
from tests import processes
from tests.training.small import Small, left_behind, small_loaders, train_small
from tests.training.together import MOVING, frozen_losses, main
from transfer.training import accelerator_for, evaluate
from transfer.training.checkpoint import State

TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    def make(folder: Path) -> None:
        processes.run(main, folder, world=2, folder=folder / "said")

    folder = processes.once(tmp_path_factory, "together", make)
    return folder, json.loads((folder / "found.json").read_text())


def test_they_are_two(together: tuple[Path, dict[str, Any]]) -> None:
    assert together[1]["processes"] == 2


@pytest.mark.parametrize("what", ["labels", "maps"])
def test_the_losses_are_those_of_one(together: tuple[Path, dict[str, Any]], what: str) -> None:
    """Over 12 steps of which three have parts of 3 and 4 images; over 16 steps whose maps are labelled unevenly."""
    one = frozen_losses(accelerator_for(MOVING))
    assert len(one[what]) == {"labels": 12 + 3, "maps": 16 + 2}[what]
    assert together[1][what] == pytest.approx(one[what], abs=1e-5)
    assert together[1]["weights"] == pytest.approx(one["weights"], abs=1e-5)


def test_all_hold_the_same_weights_and_statistics(together: tuple[Path, dict[str, Any]]) -> None:
    assert together[1]["same"]


def test_the_saved_model_has_the_metrics_that_were_written_down(together: tuple[Path, dict[str, Any]]) -> None:
    saved, model = left_behind(together[0] / "saved"), Small()
    model.load_state_dict(saved["model"])
    (row,) = saved["epochs"]
    found = evaluate(model, small_loaders().test)
    assert found["accuracy"] == row["accuracy"]
    assert found["loss"] == pytest.approx(row["test_loss"], abs=1e-6)


def test_a_signal_to_one_stops_both_at_one_step(together: tuple[Path, dict[str, Any]]) -> None:
    assert together[1]["stops"] == [[143, 3, 143, 5]] * 2


def test_resumed_they_reach_the_same_bits(together: tuple[Path, dict[str, Any]]) -> None:
    assert together[1]["resumed"]


def test_a_loss_that_is_not_a_number_on_one_ends_both_and_is_not_saved(together: tuple[Path, dict[str, Any]]) -> None:
    assert together[1]["ended"] == [True, True]
    assert State(together[0] / "nan").load() is None


def test_another_number_of_processes_is_refused(together: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="processes 2, now 1"):
        train_small(MOVING, together[0] / "whole", dropout=0.5)


LONG = """
import os, sys, time
from pathlib import Path
from tests.training.small import train_small
from tests.training.together import MOVING
from dataclasses import replace
from checkpoints.files import write_whole
folder = Path(sys.argv[1])
def at_step(step):
    if step == 3:
        write_whole(folder / f"rank-{os.environ['RANK']}", str(os.getpid()))
    time.sleep(0.05)
train_small(replace(MOVING, epochs=1000), folder, at_step=at_step)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.large)])
def test_when_one_dies_the_launcher_stops_the_other(sent: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text(LONG)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    with subprocess.Popen([*TWO, str(script), str(tmp_path)], env=environment, stderr=subprocess.PIPE) as launcher:
        while len(list(tmp_path.glob("rank-?"))) < 2:
            assert launcher.poll() is None
            time.sleep(0.1)
        os.kill(int((tmp_path / "rank-1").read_text()), sent)
        _, words = launcher.communicate(timeout=300)
        assert launcher.returncode != 0
    assert words
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "rank-0").read_text()), 0)
    if sent == signal.SIGTERM:
        assert left_behind(tmp_path)["scheduler_step"] > 0
