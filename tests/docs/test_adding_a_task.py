"""docs/adding_a_task.md works as it stands: run, kill, resume, compare, evaluate, predict, with its files alone."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests import processes
from tests.conftest import Outcome
from transfer import cli

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "adding_a_task.md"
FLAGS = (
    "--prune.method", "magnitude", "--prune.images", "32", "--data.size", "12", "--train.epochs", "2",
    "--train.save-minutes", "0",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, and no other."""
    path = tmp_path_factory.mktemp("task")
    task, comparison = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (path / "angles.py").write_text(task)
    (path / "compare_angles.py").write_text(comparison)
    return path


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A run that was killed and started again."""
    first = processes.start(script, folder, "angles.py", *FLAGS, folder=folder / "first")
    (process,) = first.processes
    for _ in range(2400):
        if list(folder.glob("runs/*/state.pt")) or process.exitcode is not None:
            break
        time.sleep(0.05)
    process.kill()
    assert first.codes() == [-signal.SIGKILL]
    again = processes.run(script, folder, "angles.py", *FLAGS, folder=folder / "again")
    assert re.search(r"resumed at epoch 1, step \d+ from .*state\.pt", again.err)
    (path,) = folder.glob("runs/angles-*")
    return path


def script(folder: Path, name: str, *words: str) -> None:
    """Do what ``python name words`` does in the folder."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = [name, *words]
    runpy.run_path(name, run_name="__main__")


def evaluated_and_predicted(folder: Path, run: Path, image: Path) -> None:
    """Do what ``transfer --import angles evaluate`` and ``predict`` do."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    cli.main(["--import", "angles", "evaluate", str(run)])
    cli.main(["--import", "angles", "predict", str(run), str(image)])


def test_a_killed_run_goes_on_and_the_smallest_error_is_the_best(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    errors = [row["rmse"] for row in rows]
    assert result["headline"] == "rmse"
    assert result["best_rmse"] == min(errors)
    assert result["best_epoch"] == 1 + errors.index(min(errors))
    assert result["sparsity"] == pytest.approx(0.9, abs=1e-4)
    assert result["pruning_set"] is not None
    assert (run / "plots" / "rmse.png").stat().st_size > 5_000


def test_it_is_tested_again_and_predicts(run: Path, tmp_path: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    image = tmp_path / "photo.png"
    Image.linear_gradient("L").save(image)
    found = processes.run(evaluated_and_predicted, run.parents[1], run, image, folder=tmp_path / "said")
    tested, predicted = found.out.splitlines()
    assert json.loads(tested)["rmse"] == result["rmse"]
    assert re.fullmatch(rf"{re.escape(str(image))}\t-?\d+\.\d degrees", predicted)


def test_without_its_module_the_line_says_what_to_import(run: Path, command: Callable[..., Outcome]) -> None:
    code, out, error = command("evaluate", str(run))
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    assert "--import the module that registers it" in error


@pytest.mark.large
def test_a_comparison_knows_that_smaller_is_better(folder: Path) -> None:
    words = ["--methods", "magnitude", "random", "--sparsities", "0.98", "--workers", "2"]
    words = [sys.executable, "compare_angles.py", *words, "--prune.images", "32", "--train.epochs", "1"]
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[1])}
    found = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    (made,) = folder.glob("runs/angles-comparison-*")
    rows = json.loads((made / "comparison.json").read_text())["rows"]
    best = min(rows[1:], key=lambda row: row["mean"])
    assert f"{best['method']} kept most: {best['mean']:.4g} RMSE (degrees)" in " ".join(found.stdout.split())
    assert (made / "comparison.png").stat().st_size > 5_000
