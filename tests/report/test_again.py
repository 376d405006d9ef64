"""The commands of a report make the same recipe again."""

import dataclasses
import importlib
import shlex

import pytest

from tests.report.records import record
from transfer.data.augment import Augment
from transfer.pruning import saliency
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import Launch, parse
from transfer.report import again
from transfer.report.rows import Row
from transfer.report.sections import split
from transfer.runs.usual import modules_of, usual_recipe

NAMES = ("digits", "voc2012", "cifar10_scratch")
DIGITS, VOC, SCRATCH = (importlib.import_module(f"recipes.{name}").RECIPE for name in NAMES)
RUNS = [
    DIGITS,
    dataclasses.replace(
        DIGITS, backbone="random:resnet20",
        data=Data(name="imagefolder:/my images", augment=Augment(flip=True, resized_crop=(0.2, 1.0))),
        prune=Prune(method="snip", sparsity=0.982, allocation="px", exclude=("fc", "*.conv1"), recalibrate=True,
                    options=("bf16=true",)),
        train=Train(epochs=3, milestones=(1, 2), clip_norm=1.0, channels_last=False, nesterov=True),
    ),
    dataclasses.replace(DIGITS, prune=Prune(method="dense", sparsity=0.0)),
    SCRATCH,
    dataclasses.replace(VOC, train=dataclasses.replace(VOC.train, milestones=())),
]  # fmt: skip


def command(found: Row) -> str:
    return again.command(found, usual_recipe(found.first.recipe.name), modules_of(found.first.recipe))


def row(*recipes: Recipe):
    runs = []
    for recipe in recipes:
        prune = recipe.prune
        given = record(prune.method, prune.sparsity, recipe.seed)
        runs.append(dataclasses.replace(given, recipe=recipe))
    (section,), _ = split(runs)
    (found,) = section.rows
    return found


@pytest.mark.parametrize("recipe", RUNS)
def test_a_command_gives_the_same_recipe(recipe):
    recipe = dataclasses.replace(recipe.resolved(), seed=7)
    python, flag, module, *words = shlex.split(command(row(recipe)))
    assert (python, flag, module) == ("python", "-m", f"recipes.{recipe.name.replace('-', '_')}")
    launch = parse(Launch, Launch(importlib.import_module(module).RECIPE), words)
    assert launch.recipe.resolved() == recipe


def test_all_seeds_in_one_line():
    several = [dataclasses.replace(DIGITS.resolved(), seed=seed) for seed in (0, 3)]
    assert command(row(*several)) == 'for seed in 0 3; do python -m recipes.digits --seed "$seed"; done'


@pytest.mark.parametrize("name", ["quickstart", "mine", "my recipe; rm -rf /"])
def test_other_recipes_are_read_from_the_runs_folder(name):
    found = command(row(dataclasses.replace(DIGITS.resolved(), name=name)))
    python, flag, code = shlex.split(found)
    assert (python, flag) == ("python", "-c")
    assert f"open('runs/{DIGITS.prune.method}-0.9-0/recipe.json')" in code
    compile(code, "code", "exec")


def test_modules_of_the_user_are_imported(monkeypatch: pytest.MonkeyPatch):
    def mine(problem):
        raise NotImplementedError

    mine.__module__ = "my_methods"
    monkeypatch.setitem(saliency._METHODS, "mine", saliency.Method(mine))
    own = dataclasses.replace(DIGITS, prune=Prune(method="mine", sparsity=0.5), seed=1).resolved()
    assert command(row(own)) == (
        "transfer --import my_methods run digits --prune.method mine --prune.sparsity 0.5 --seed 1"
    )
    assert "import json, transfer, my_methods;" in command(row(dataclasses.replace(own, name="mine")))
    assert modules_of(dataclasses.replace(own, data=Data(name="gone"))) == ["my_methods"]
