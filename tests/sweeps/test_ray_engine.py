"""Cells on Ray: what is refused; a real cluster of this machine of which a worker is killed; cells of two processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import InputError
from checkpoints.files import read_json
from tests.sweeps.small import RECIPE
from transfer.errors import RunError, TrainingError
from transfer.runs.cell import Cell
from transfer.runs.folder import Held
from transfer.runs.grid import Grid
from transfer.runs.run import Result
from transfer.runs.worker import Done, Failed
from transfer.sweeps import ray_engine
from transfer.sweeps.sweep import sweep


def test_without_ray_the_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'px-transfer\[ray\]'"):
        ray_engine.connected(address="local")


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("127.0.0.1:1", "nobody answers at 127.0.0.1:1"),
        ("ray://127.0.0.1:1", "nobody answers at ray://127.0.0.1:1"),
        ("ray://127.0.0.1:99999", "nobody answers"),
        ("somewhere", "give auto, local, host:port"),
    ],
)
def test_an_address_that_nobody_answers_is_one_line(address: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "_ray", lambda: None)
    with pytest.raises(InputError, match=line) as caught:
        ray_engine._connect(None, address, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"gpus": -1.0}, {"gpus": 1.5}, {"cpus": 0}, {"workers": 0}], ids=lambda each: str(*each)
)
def test_numbers_out_of_range(given: dict[str, float]) -> None:
    with pytest.raises(InputError, match="-per-cell is"):
        ray_engine.connected(**given)  # type: ignore[arg-type]


class Cluster:
    """Stands in for the module ray: of the tasks that run, the one that was submitted last ends first."""

    class exceptions:
        RayError = ConnectionError

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.most = 0

    def wait(self, tasks: list[str], num_returns: int, timeout: float = 0.0) -> tuple[list[str], list[str]]:
        self.most = max(self.most, len(tasks))
        return tasks[-1:], tasks[:-1]

    def get(self, task: str) -> tuple[Done | Failed, list[str]]:
        if task == "dies":
            raise ConnectionError("the node died\nand more")
        failed = Failed(TrainingError, (f"{task}: no",))
        return failed if task == "fails" else Done(Result(Path(task), {})), [f"{task} warns"] * (task == "c")

    def cancel(self, task: str) -> None:
        self.cancelled.append(task)

    def shutdown(self) -> None:
        self.cancelled.append("all")


def test_each_outcome_is_of_its_own_cell() -> None:
    names = ["a", "fails", "c", "dies", "e"]
    cells, ray = [Cell(RECIPE, Path(), name) for name in names], Cluster()
    with pytest.warns(UserWarning, match="c warns"):
        found = dict(ray_engine._outcomes(ray, str, cells, 2))
    told = {names[number]: str(each) for number, each in found.items() if isinstance(each, Exception)}
    assert told == {"fails": "fails: no", "dies": "dies: the node died"}
    assert [found[number].folder for number in (0, 2, 4)] == [Path("a"), Path("c"), Path("e")]  # type: ignore[union-attr]
    assert (ray.most, ray.cancelled) == (2, ["all"])


def test_a_sweep_that_stops_cancels_what_runs() -> None:
    cells, ray = [Cell(RECIPE, Path(), name) for name in "abxy"], Cluster()
    outcomes = ray_engine._outcomes(ray, str, cells, 3)
    next(outcomes)
    outcomes.close()
    assert ray.cancelled == ["a", "b", "all"]


def tasks() -> list[int]:
    """Return the processes of Ray that run a cell."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::run_cell"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_of_a_local_cluster_does_not_end_the_sweep(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    killed: list[int] = []

    def kill_one() -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end and not killed:
            if list(tmp_path.glob("*/result.json")):
                for pid in tasks()[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.01)

    engine = ray_engine.connected(address="local", workers=2)
    killer = threading.Thread(target=kill_one)
    killer.start()
    found = sweep(RECIPE, Grid(("magnitude",), (0.5, 0.7, 0.9)), out=tmp_path, engine=engine)
    killer.join()
    assert killed
    assert [each.error for each in found.cells] == [None] * 4
    assert all(each.state == "done" for each in found.cells)
    names = [read_json(tmp_path / each.run / "result.json")["sparsity_asked"] for each in found.cells]
    assert names == [0.0, 0.5, 0.7, 0.9]


@pytest.mark.slow
def test_a_cell_of_two_processes(tmp_path: Path) -> None:
    cell = Cell(RECIPE, tmp_path)
    assert ray_engine.launched(cell, 2) is None
    (result,) = tmp_path.glob("*/result.json")
    assert read_json(result)["processes"] == 2


@pytest.mark.parametrize(
    ("printed", "kind"),
    [("error: another process is running in runs/a; wait for it", Held), ("error: the disk is full", RunError)],
)
def test_what_torchrun_printed_is_the_error(
    printed: str, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.CompletedProcess([], 2, "", f"a line of the launcher\n{printed}\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    found = ray_engine.launched(Cell(RECIPE, tmp_path, "a"), 2)
    assert found == Failed(kind, (f"a: {printed.removeprefix('error: ')}",))


def test_a_cell_runs_in_the_folder_of_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(ray_engine, "answer", lambda *_: Failed(TrainingError, (os.getcwd(),)))
    given: dict[str, Any] = {"tried": frozenset(), "modules": (), "threads": torch.get_num_threads(), "processes": 1}
    found, _ = ray_engine.run_cell(Cell(RECIPE, Path("runs")), folder=str(tmp_path / "there"), **given)
    assert found == Failed(TrainingError, (str(tmp_path / "there"),))
    found, _ = ray_engine.run_cell(Cell(RECIPE, Path("runs"), "a"), folder=str(tmp_path / "gone"), **given)
    assert isinstance(found, Failed)
    assert str(found.error()).startswith(f"a: folder {tmp_path}/gone, where the sweep was started, is not on this node")
