"""The command: its files, its errors; a search that is killed goes on and ends with equal bytes."""

import csv
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image

from checkpoints import InputError
from checkpoints.files import read_json
from tests import processes
from tests.conftest import Outcome
from tests.search import fake
from tests.sweeps.small import RECIPE as SMALL
from transfer import find_recipe
from transfer.errors import RunError, TrainingError
from transfer.recipe import Prune, Recipe, Train
from transfer.search import search as searches
from transfer.search.search import planned, search

RECIPE = replace(
    SMALL, prune=Prune(sparsity=0.8, rounds=2, per_class=2), train=Train(epochs=3, batch=256, precision="no")
)
ASKED: dict[str, Any] = {"methods": ("magnitude", "snip", "random"), "allocations": ("global", "erk")}


class FakeTrainer:
    """Trains nothing."""

    broken: tuple[str, ...] = ()

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def train(self, recipe: Recipe, epochs: int) -> list[dict[str, float]]:
        if recipe.prune.method in self.broken:
            raise TrainingError("the loss is nan")
        return fake.metrics(recipe.prune.method, recipe.prune.allocation, epochs)

    def forget(self, recipe: Recipe) -> None: ...


def test_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "Trainer", FakeTrainer)
    monkeypatch.setattr(searches, "dry_run", lambda *_: (None, {}))
    monkeypatch.setattr(searches, "prepare", lambda *_: None)
    monkeypatch.setattr(FakeTrainer, "broken", ("random",))
    asked = planned(RECIPE, budget=10, **ASKED)
    found = search(asked, out=tmp_path)
    content = read_json(found.folder / "search.json")
    assert content["rungs"] == [{"epochs": 1, "trials": 6}, {"epochs": 3, "trials": 2}]
    assert (content["epochs_planned"], content["epochs_spent"]) == (10, 4 + 2 * 2)
    assert [each["state"] for each in content["trials"]] == ["finished"] * 2 + ["stopped"] * 2 + ["failed"] * 2
    best = content["trials"][0]
    assert best["values"] == [row["accuracy"] for row in fake.metrics(best["method"], best["allocation"], 3)]
    with open(found.folder / "search.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [each["method"] for each in content["trials"]]
    assert rows[-1]["error"] == "the loss is nan"
    recipe = find_recipe.find(str(found.folder / "best.json"))
    pruning = replace(RECIPE.prune, method=best["method"], allocation=best["allocation"])
    assert replace(recipe, prune=replace(recipe.prune, rounds=2)) == replace(RECIPE, prune=pruning)
    with Image.open(found.folder / "search.png") as picture:
        picture.load()
    again = {path.name: path.read_bytes() for path in found.folder.glob("search.*")}
    search(asked, out=tmp_path)
    assert {path.name: path.read_bytes() for path in found.folder.glob("search.*")} == again

    monkeypatch.setattr(FakeTrainer, "broken", ASKED["methods"])
    with pytest.raises(RunError, match="every trial failed; the first one: magnitude, global: the loss is nan"):
        search(asked, out=tmp_path)
    with FileLock(found.folder / ".lock"), pytest.raises(InputError, match="another process is searching"):
        search(asked, out=tmp_path)


def test_what_cannot_be_searched() -> None:
    for changes, given, line in (
        ({"prune": Prune(sparsity=0.0)}, {}, "prune.sparsity is 0"),
        ({"train": Train(epochs=0)}, {}, "train.epochs is 0"),
        ({}, {"budget": 5}, "budget is 5 epochs; 30 trials .* take 32"),
        ({}, {"methods": ("px", "imp")}, "methods has imp, which prunes by training"),
        ({}, {"methods": ("keep",)}, "methods has keep, which removes nothing"),
        ({}, {"methods": ("gmp",)}, "methods has gmp, which has its full sparsity only late in a training"),
        ({}, {"methods": ("pxx",)}, "unknown method 'pxx'; did you mean px"),
        ({}, {"methods": ()}, "there is nothing to try"),
        ({}, {"allocations": ("ekr",)}, "unknown allocation 'ekr'; did you mean erk"),
        ({"backbone": "random:resnet21"}, {}, "resnet21"),
    ):
        with pytest.raises(InputError, match=line):
            planned(replace(RECIPE, **changes), **given)


def test_under_a_launcher_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="start a search once"):
        planned(RECIPE)


def test_optuna_is_an_extra(command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in ("search", "show", "study", "record"):
        monkeypatch.delitem(sys.modules, f"transfer.search.{name}", raising=False)
    code, _, err = command("search", "digits")
    assert (code, err) == (2, "error: transfer search needs Optuna; pip install 'px-transfer[search]'\n")


def test_the_command_line(command: Callable[..., Outcome], tmp_path: Path) -> None:
    for words, code, line in (
        (("search",), 2, "usage: transfer search RECIPE"),
        (("search", "--help"), 0, "usage: transfer search RECIPE"),
        (("search", "--budget", "9"), 2, "error: say which recipe"),
        (("search", "digit"), 2, "error: unknown recipe 'digit'; did you mean digits"),
        (("search", "digits", "--budget", "much"), 2, "error: "),
        (("search", "digits", "--budget", "9"), 2, "error: budget is 9 epochs"),
    ):
        found, out, err = command(*words)
        assert (found, line in out + err) == (code, True), (words, out, err)
        assert len(err.splitlines()) <= 1
    small = ("--backbone", "random:resnet20", "--data.size", "8", "--methods", "magnitude", "snip")
    code, out, _ = command("search", "digits", *small, "--dry-run", "--out", str(tmp_path))
    assert code == 0
    assert "14 epochs, 44% of the 32 that train every trial to the end" in out
    assert not list(tmp_path.iterdir())


WORDS = (
    "search", "digits", "--backbone", "random:resnet20", "--data.size", "8", "--prune.rounds", "2", "--methods",
    "magnitude", "snip", "random", "--allocations", "global", "--prune.sparsity", "0.9", "--prune.per-class", "2",
    "--train.epochs", "2", "--train.warmup", "0", "--train.batch", "256", "--train.precision", "no", "--budget", "4",
)  # fmt: skip
FILES = ("search.json", "search.csv", "best.json")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_search_goes_on_and_ends_the_same(tmp_path: Path, command: Callable[..., Outcome]) -> None:
    out = tmp_path / "out"
    first = processes.start(processes.module, "transfer", *WORDS, "--out", str(out), folder=tmp_path / "first")
    (process,) = first.processes
    end = time.monotonic() + 120
    while len(list(out.glob("*/trials/*/metrics.jsonl"))) < 1 and process.exitcode is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(out.glob("*/best.json"))
    code, _, err = command(*WORDS, "--out", str(out))
    assert (code, "rung 2 of 2" in err) == (0, True)
    assert command(*WORDS, "--out", str(tmp_path / "whole"))[0] == 0
    (folder,), (whole,) = out.glob("*-search-*"), tmp_path.glob("whole/*-search-*")
    assert [(folder / name).read_bytes() for name in FILES] == [(whole / name).read_bytes() for name in FILES]
    assert not list(folder.rglob("state*.pt"))

    best = read_json(folder / "search.json")["trials"][0]
    trained = {path.parent.name: path for path in folder.glob("trials/*/metrics.jsonl")}
    (own,) = [path for name, path in trained.items() if f"-{best['method']}-" in name]
    assert len(own.read_text().splitlines()) == 2
    shutil.rmtree(own.parent)  # a trial that is gone is trained again, and says the same in one go
    assert command(*WORDS, "--out", str(out))[0] == 0
    assert (folder / "search.json").read_bytes() == (whole / "search.json").read_bytes()
