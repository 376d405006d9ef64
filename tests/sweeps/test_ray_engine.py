"""Cells on Ray: what is refused; a real cluster of this machine of which a worker is killed; cells of two processes."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from checkpoints import InputError
from tests.sweeps.small import RECIPE
from transfer.runs.cell import Cell
from transfer.runs.folder import read_json
from transfer.runs.grid import Grid
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
    found = sweep(RECIPE, Grid(("magnitude", "random"), (0.5, 0.9)), out=tmp_path, engine=engine)
    killer.join()
    assert killed
    assert [each.error for each in found.cells] == [None] * 5
    assert all(each.state == "done" for each in found.cells)


@pytest.mark.slow
def test_a_cell_of_two_processes(tmp_path: Path) -> None:
    cell = Cell(RECIPE, tmp_path)
    assert ray_engine.launched(cell, 2) is None
    (result,) = tmp_path.glob("*/result.json")
    assert read_json(result)["processes"] == 2
