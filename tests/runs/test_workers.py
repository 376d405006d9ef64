"""Runs of a comparison in worker processes: the bytes of one process, errors, warnings, Ctrl-C."""

import multiprocessing
import sys
import traceback
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from checkpoints import InputError
from tests import processes
from tests.conftest import Ended
from transfer import plugins, recipe_cli
from transfer.errors import TrainingError
from transfer.pruning import CollapseWarning, saliency
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.report.board import Board
from transfer.runs import cell as cell_module
from transfer.runs import workers
from transfer.runs.cell import Cell
from transfer.runs.compare import Comparison, compare
from transfer.runs.run import Result
from transfer.runs.shelf import Shelf

RECIPE = Recipe(
    name="beside",
    backbone="random:resnet20",
    data=Data(name="digits", size=8),
    prune=Prune(method="px", sparsity=0.982, rounds=2, per_class=2, statistics="running"),  # so that it empties layers
    train=Train(epochs=1, batch=256, lr=0.05, precision="no"),
)
FILES = ("result.json", "masks.safetensors", "model.safetensors", "best.safetensors", "metrics.jsonl", "layers.csv")


def compared(recipe: Recipe, out: Path, number: int, methods: tuple[str, ...] = ("magnitude", "px")) -> Comparison:
    return compare(recipe, methods=methods, sparsities=[0.982], seeds=[0], out=out, workers=number)


@pytest.fixture
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start in no time; that of the bytes has them as they are, spawned."""
    processes.ready()
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: processes.FORKS)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_workers_give_the_bytes_and_the_warnings_of_one_process(tmp_path: Path) -> None:
    with pytest.warns(CollapseWarning) as alone:
        first = compared(RECIPE, tmp_path / "1", 1)
    with pytest.warns(CollapseWarning) as beside:
        second = compared(RECIPE, tmp_path / "2", 2)
    assert {str(w.message) for w in alone} == {str(w.message) for w in beside}
    assert first.rows == second.rows
    assert first.folder.name == second.folder.name
    for one, two in zip(first.results, second.results, strict=True):
        assert one.folder.name == two.folder.name
        for name in FILES:
            path = one.folder / name
            assert not path.exists() or path.read_bytes() == (two.folder / name).read_bytes(), name
    again = compared(RECIPE, tmp_path / "2", 1)
    assert again.rows == second.rows  # finished: read, not run
    assert second.earlier is None
    assert again.earlier is not None
    assert again.earlier.startswith("3 of 3 runs were finished before, the last on 20")
    assert again.earlier.endswith(", ".join(str(result.folder) for result in second.results))
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("forked")
def test_an_error_in_a_worker_names_its_cell_and_ends_all(tmp_path: Path) -> None:
    wild = replace(RECIPE, train=replace(RECIPE.train, lr=1e18))
    with pytest.raises(TrainingError, match=r"^(dense|magnitude 98\.20%), seed 0: the ") as caught:
        compared(wild, tmp_path, 2, ("magnitude",))
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()


def test_in_this_process_too_and_on_the_command_line_it_is_one(tmp_path: Path, ended: Ended) -> None:
    wild = replace(RECIPE, train=replace(RECIPE.train, lr=1e18))
    asked = recipe_cli.Comparing(
        wild, methods=("magnitude",), sparsities=(0.5,), out=tmp_path, workers=1, verbosity="quiet"
    )
    code, out, err = ended(lambda: recipe_cli.run_comparison(asked, []))
    assert (code, out) == (1, "[1/2] dense, seed 0\n")
    assert err.startswith("error: dense, seed 0: the ")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("forked")
def test_ctrl_c_leaves_no_process_and_keeps_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Board, name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Board, "end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compared(RECIPE, tmp_path, 2, ("magnitude",))
    assert not multiprocessing.active_children()
    assert list(tmp_path.glob("*/result.json"))
    assert len(compared(RECIPE, tmp_path, 1, ("magnitude",)).rows) == 2


@pytest.mark.parametrize("number", [0, -1])
def test_no_worker_is_refused(number: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workers is"):
        compared(RECIPE, tmp_path / "runs", number)
    assert not (tmp_path / "runs").exists()


def test_how_many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 16)
    assert [workers.workers_for(None, cells) for cells in (1, 3, 9)] == [1, 3, 4]
    assert workers.workers_for(8, 9) == 8
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert workers.workers_for(None, 9) == workers.workers_for(1, 9) == 1
    with pytest.raises(InputError, match="leave it out"):
        workers.workers_for(2, 9)
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert workers.workers_for(None, 9) == 1


def test_workers_take_turns_with_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [workers.gpu_of(number, 0) for number in range(2)] == [workers.gpu_of(0, 1), None]
    assert [workers.gpu_of(number, 2) for number in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7")
    assert [workers.gpu_of(number, 2) for number in range(3)] == ["5", "GPU-7", "5"]


@pytest.mark.usefixtures("forked")
def test_a_killed_worker_is_replaced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def give(self: workers._Worker, cell: Cell) -> None:
        original(self, cell)
        if kills[str(cell)]:
            kills[str(cell)] -= 1
            self.process.kill()

    original = workers._Worker.give
    monkeypatch.setattr(workers._Worker, "give", give)
    short = replace(RECIPE, train=replace(RECIPE.train, epochs=0))
    kills = {"once": 1, "twice": 2, "never": 0}
    cells = [Cell(replace(short, seed=seed, prune=Prune(sparsity=0.0)), tmp_path, n) for seed, n in enumerate(kills)]
    with pytest.warns(UserWarning, match=r"died \(exit code -9\); a fresh one goes on from what was saved") as told:
        found = dict(workers.outcomes(cells, workers=2, shelf=Shelf()))
    assert sorted(str(each.message).partition(":")[0] for each in told) == ["once", "twice"]
    assert isinstance(found[0], Result)
    assert isinstance(found[2], Result)
    assert str(found[1]) == (
        "twice: its worker process died (exit code -9), as the one before it; what was saved is kept"
    )
    assert not multiprocessing.active_children()


def test_several_runs_load_and_try_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(home: str, name: str) -> None:
        original: Callable[..., object] = getattr(__import__(home, fromlist=[name]), name)
        monkeypatch.setattr(f"{home}.{name}", lambda *a, **k: calls.append(name) or original(*a, **k))

    for home, name in (("checkpoints", "load"), ("transfer.data", "load"), ("transfer.runs.prepare", "_try")):
        counted(home, name)
    compare(
        replace(RECIPE, backbone="embedded", train=replace(RECIPE.train, epochs=0)),
        methods=["magnitude"], sparsities=[0.5, 0.6], seeds=[0, 1], out=tmp_path,
    )  # fmt: skip
    assert sorted(calls) == ["_try", "_try", "load", "load"]  # dense and magnitude; backbone and data


def test_an_error_of_the_disk_keeps_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "masks")

    monkeypatch.setattr("transfer.runs.cell.run", full)
    with pytest.raises(OSError, match="dense, seed 0: No space left on device: 'masks'"):
        Cell(replace(RECIPE, prune=Prune(sparsity=0.0)), tmp_path).run(Shelf())


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_the_workers_import_what_the_command_was_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_method.py").write_text(
        "from transfer.pruning import register\n"
        "register('own', lambda problem: {name: w.abs() for name, w in problem.weights.items()}, version='1')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "imported", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    plugins.load("own_method")
    try:
        found = compared(RECIPE, tmp_path / "runs", 2, ("own",))
    finally:
        saliency._METHODS.pop("own")
    assert [row["method"] for row in found.rows] == ["dense", "own"]


def test_a_module_that_is_not_there_is_one_line() -> None:
    with pytest.raises(InputError, match=r"there is no module ages\.py to import; give its name without \.py"):
        plugins.load("ages.py")


def test_a_failed_cell_does_not_hold_its_memory_during_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Model:
        pass

    models: list[weakref.ref[Model]] = []
    alive: list[int] = []

    def run(*_: object, **__: object) -> Result:
        alive.append(sum(model() is not None for model in models))
        model = Model()
        models.append(weakref.ref(model))
        try:
            raise torch.OutOfMemoryError("full")
        except torch.OutOfMemoryError as error:
            raise TrainingError("stopped") from error

    monkeypatch.setattr(cell_module, "run", run)
    kept = dict(workers.outcomes([Cell(RECIPE, tmp_path)] * 3, workers=1, shelf=Shelf()))
    assert [str(each) for each in kept.values()] == ["px 98.20%, seed 0: stopped"] * 3
    assert "in run" in "".join(traceback.format_exception(kept[0]))  # type: ignore[arg-type]
    assert alive == [0, 0, 0]
