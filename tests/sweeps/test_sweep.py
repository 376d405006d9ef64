"""A sweep: a failed cell does not stop the rest, finished ones are skipped; the plan and its times; the commands."""

import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checkpoints import InputError
from checkpoints.files import read_json, write_json
from tests.conftest import Outcome
from tests.sweeps.small import RECIPE, run
from transfer import find_recipe
from transfer.errors import TrainingError
from transfer.recipe import Prune
from transfer.runs import cell as cells
from transfer.runs import worker
from transfer.runs.cell import Cell
from transfer.runs.folder import Held, locked
from transfer.runs.grid import Grid
from transfer.runs.shelf import Shelf
from transfer.runs.workers import Outcomes
from transfer.sweeps import estimate, record
from transfer.sweeps import sweep as module
from transfer.sweeps.cells import Planned
from transfer.sweeps.commands import command as command_of
from transfer.sweeps.commands import commands
from transfer.sweeps.plan import plan
from transfer.sweeps.show import show
from transfer.sweeps.sweep import Sweep, local, sweep

GRID = Grid(("magnitude", "random"), (0.5,))


def test_a_failed_cell_does_not_stop_the_rest_and_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(recipe: Any, **given: Any) -> Any:
        if recipe.prune.method == "magnitude":
            raise TrainingError("the loss is\nnot finite")
        return run(recipe, **given)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "run", broken)
        found = sweep(RECIPE, GRID, out=tmp_path, engine=local(1))
    (failed,) = found.failed
    assert failed.error == "magnitude 50.00%, seed 0: the loss is not finite"
    content = read_json(found.folder / "sweep.json")
    assert [each["status"] for each in content["cells"]] == ["done", "failed", "done"]
    assert content["failed"] == [{"run": content["runs"][1], "error": failed.error}]
    assert [(tmp_path / name / "result.json").exists() for name in content["runs"]] == [True, False, True]

    again: list[str] = []
    monkeypatch.setattr(cells, "run", run)

    def counted(todo: Sequence[Cell], shelf: Shelf) -> Outcomes:
        again.extend(map(str, todo))
        return local(1)(todo, shelf)

    assert not sweep(RECIPE, GRID, out=tmp_path, engine=counted).failed
    assert again == ["magnitude 50.00%, seed 0"]
    assert read_json(found.folder / "sweep.json")["failed"] == []
    assert not sweep(RECIPE, GRID, out=tmp_path, engine=counted).failed
    assert len(again) == 1
    rows, lines = plan(RECIPE, replace(GRID, seeds=(0, 0)), tmp_path)
    assert [row[1] for row in rows] == ["done"] * 3
    assert lines == ["3 cells: 3 done", "3 more are the same run as one of these, and left out"]


def test_a_bug_is_recorded_and_its_traceback_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cells, "run", lambda *_, **__: {}["x"])
    found = sweep(RECIPE, Grid(sparsities=(0.0,)), out=tmp_path, engine=local(1))
    assert [each.error for each in found.failed] == ["KeyError: 'x'"]
    assert "Traceback" in capsys.readouterr().err


def test_cells_that_cannot_run_are_told_before_the_others_begin(tmp_path: Path) -> None:
    grid = Grid(("px", "magnitude"), (0.5,), ("random:test_vit", "random:resnet20"))
    begun: list[str] = []

    def nothing(todo: Sequence[Cell], shelf: Shelf) -> Outcomes:
        begun.extend(map(str, todo))
        yield from ()

    with pytest.warns(UserWarning, match=r"^random:test_vit, .*cannot run"):
        found = sweep(RECIPE, grid, out=tmp_path, engine=nothing)
    assert {str(each.cell) for each in found.failed} & set(begun) == set()
    assert [name for name in begun if name.startswith("random:resnet20")] == begun[-3:]


def test_where_no_cell_can_run_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^dense, seed 0: .*resnet21"):
        sweep(replace(RECIPE, backbone="random:resnet21"), GRID, out=tmp_path / "runs", engine=local(1))
    assert not (tmp_path / "runs").exists()


def test_under_a_launcher_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="start a sweep once"):
        sweep(RECIPE, GRID, out=tmp_path)


def test_the_plan_tells_the_time_of_measured_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "measured", lambda setup: estimate.Costs(train=0.01, score=0.1))
    recipe = replace(RECIPE, train=replace(RECIPE.train, epochs=3))
    rows, lines = plan(replace(recipe, prune=replace(recipe.prune, rounds=None)), GRID, tmp_path / "runs")
    training = 3 * (1437 + 360 / 3) * 0.01  # digits: 1,437 training and 360 test images
    assert [row[2] for row in rows] == ["47 s", "49 s", "49 s"]
    assert [training, training + 2 * 10 * 0.1] == pytest.approx([46.71, 48.71])
    assert lines == [
        "3 cells: 3 new",
        "time: about 2 min 24 s for all that is open, one cell after another on this machine",
    ]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("prune", "seconds"),
    [
        (Prune(sparsity=0.0), 60.0),
        (Prune("px", 0.9, rounds=7, per_class=2), 60.0 + 7 * 20 * 0.5),
        (Prune("px", 0.9, rounds=7, per_class=50), 60.0 + 7 * 100 * 0.5),  # no more images than there are
        (Prune("imp", 0.9, rounds=7), 8 * 60.0),
        (Prune("gmp", 0.9, rounds=7), 60.0),
        (Prune("keep"), 60.0),
    ],
)
def test_the_estimate(prune: Prune, seconds: float) -> None:
    recipe = replace(RECIPE, prune=prune, train=replace(RECIPE.train, epochs=5)).resolved()
    costs = estimate.Costs(train=0.1, score=0.5)
    found = estimate.seconds(recipe, costs, train=100, test=60, classes=10, per_class=True)
    assert found == pytest.approx(seconds)


def test_the_command_line(command: Callable[..., Outcome], tmp_path: Path) -> None:
    asked = ("sweep", "digits", "--methods", "px")
    for words, code, line in (
        (("sweep",), 2, "usage: transfer sweep RECIPE"),
        (("sweep", "--help"), 0, "usage: transfer sweep RECIPE"),
        (("sweep", "--methods", "px"), 2, "error: say which recipe"),
        (("sweep", "digit"), 2, "error: unknown recipe 'digit'; did you mean digits"),
        (("sweep", "--grid", "paper-x"), 2, "error: unknown grid 'paper-x'"),
        (("sweep", "--grid", "list"), 0, "paper-voc2012"),
        ((*asked, "--workers", "0"), 2, "error: workers is 0"),
        ((*asked, "--engine", "dask"), 2, "error: "),
        ((*asked, "--address", "local"), 2, "error: --address does nothing with --engine local"),
        ((*asked, "--gpus-per-cell", "1"), 2, "error: --gpus-per-cell does nothing with --engine local"),
        ((*asked, "--cpus-per-cell", "2"), 2, "error: --cpus-per-cell does nothing with --engine local"),
        ((*asked, "--commands", "--engine", "ray"), 2, "error: --engine does nothing with --commands"),
        ((*asked, "--commands", "--workers", "2"), 2, "error: --workers does nothing with --commands"),
        ((*asked, "--commands", "--dry-run"), 2, "error: --dry-run does nothing with --commands"),
        ((*asked, "--engine", "ray", "--gpus-per-cell", "1.5"), 2, "error: gpus-per-cell is 1.5"),
        (("sweep", str(tmp_path)), 2, f"error: there is no file {tmp_path}/recipe.json"),
    ):
        found, out, err = command(*words)
        assert (found, line in out + err) == (code, True), (words, out, err)
        assert len(err.splitlines()) <= 1


def nothing_to_prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "prepare", lambda cells, places: None)


def test_a_cell_that_another_process_holds_is_tried_again_after_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_to_prepare(monkeypatch)
    begun: list[str] = []

    def engine(todo: Sequence[Cell], shelf: Shelf) -> Outcomes:
        for number, cell in enumerate(todo):
            begun.append(str(cell))
            held = str(cell).startswith("dense") and begun.count(str(cell)) == 1
            yield number, Held(f"{cell}: another") if held else run(cell.recipe, out=cell.out, shelf=shelf)

    found = sweep(RECIPE, GRID, out=tmp_path, engine=engine)
    assert begun == ["dense, seed 0", "magnitude 50.00%, seed 0", "random 50.00%, seed 0", "dense, seed 0"]
    assert not found.failed
    assert [each.state for each in found.cells] == ["done"] * 3  # the folders were not known before


def test_held_stays_held_through_a_cell_and_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(*_: Any, **__: Any) -> Any:
        raise Held("another process is running")

    monkeypatch.setattr(cells, "run", held)
    answered = worker.answer(Cell(RECIPE, tmp_path), Shelf())
    assert isinstance(answered, worker.Failed)
    assert isinstance(answered.error(), Held)


def test_a_cell_that_another_process_finished_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_to_prepare(monkeypatch)

    def engine(todo: Sequence[Cell], shelf: Shelf) -> Outcomes:
        for number, cell in enumerate(todo):
            run(cell.recipe, out=cell.out, shelf=shelf)
            yield number, TrainingError(f"{cell}: no")

    found = sweep(RECIPE, Grid(sparsities=(0.0,)), out=tmp_path, engine=engine)
    assert not found.failed
    content = read_json(found.folder / "sweep.json")
    assert ([each["status"] for each in content["cells"]], content["failed"]) == (["done"], [])


def test_a_second_start_is_refused(tmp_path: Path) -> None:
    folder = record.folder_of(RECIPE, GRID, tmp_path, None)
    for start in (sweep, lambda *args, out: list(commands(*args, out=out))):
        with locked(folder), pytest.raises(InputError, match=f"another process is running in {folder}; wait"):
            start(RECIPE, GRID, out=tmp_path)


def test_a_finished_cell_whose_folder_is_not_known_is_not_called_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(Sweep(tmp_path, [Planned(Cell(RECIPE, tmp_path))], 0))
    out = capsys.readouterr().out
    assert "done" in out
    assert "failed" not in out


def test_a_run_folder_hands_its_methods_defaults_to_no_other(tmp_path: Path) -> None:
    for prune in (Prune("px", 0.9), Prune("gmp", 0.9), Prune("px", 0.9, rounds=7, schedule="linear"), Prune("keep")):
        recipe = replace(RECIPE, prune=prune)
        write_json(tmp_path / "recipe.json", recipe.resolved().to_dict())
        assert find_recipe.find(str(tmp_path)) == recipe.resolved()
        for text in (tmp_path, tmp_path / "recipe.json"):
            found = find_recipe.find_to_vary(str(text))
            assert found.resolved() == recipe.resolved()
            assert (found.prune.rounds, found.prune.schedule, found.prune.statistics) == (
                prune.rounds, prune.schedule, prune.statistics
            )  # fmt: skip


def test_a_printed_command_belongs_to_the_folder_where_it_was_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command_of(Path("runs/a.json"), Path("runs")))
    assert words[:3] == ["env", "-C", str(tmp_path)]
    assert words[-3:] == [str(tmp_path / "runs/a.json"), "--out", str(tmp_path / "runs")]


@pytest.mark.slow
def test_a_printed_command_runs_as_it_stands(tmp_path: Path) -> None:
    lines = list(commands(RECIPE, replace(GRID, methods=("magnitude",)), out=tmp_path / "my runs"))
    assert len(lines) == 2
    subprocess.run(lines[1], shell=True, check=True, capture_output=True, cwd=tmp_path)
    assert shlex.split(lines[1])[-1] == str(tmp_path / "my runs")
    left = list(commands(RECIPE, replace(GRID, methods=("magnitude",)), out=tmp_path / "my runs"))
    assert left == lines[:1]
