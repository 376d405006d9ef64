"""What a comparison runs: the same for all methods, each method's own options and rounds."""

from dataclasses import replace
from pathlib import Path

import pytest

from checkpoints import InputError
from transfer.recipe import Prune, Recipe
from transfer.runs import compare
from transfer.runs.compare import cells
from transfer.runs.run import Result

RECIPE = Recipe(name="several", prune=Prune(method="px", sparsity=0.9, rounds=20))


def test_one_shot_methods_stay_so_and_the_others_have_the_recipes_rounds():
    found = {c.prune.method: c.prune.rounds for c in cells(RECIPE, ["random", "snip", "px"], [0.9], [0])[1:]}
    assert found == {"random": None, "snip": None, "px": 20}


def test_rounds_that_are_asked_for_the_recipes_own_method_are_kept():
    recipe = replace(RECIPE, prune=replace(RECIPE.prune, method="fisher"))
    found = {c.prune.method: c.prune.rounds for c in cells(recipe, ["snip", "fisher"], [0.9], [0])[1:]}
    assert found == {"snip": None, "fisher": 20}


def test_under_a_methods_allocation_all_have_its_rounds():
    recipe = replace(RECIPE, prune=replace(RECIPE.prune, allocation="px"))
    assert {c.resolved().prune.rounds for c in cells(recipe, ["random", "snip", "px"], [0.9], [0])[1:]} == {20}


def test_options_are_for_the_recipes_own_method():
    recipe = replace(RECIPE, prune=replace(RECIPE.prune, options=("bf16=true",)))
    found = {c.prune.method: c.prune.options for c in cells(recipe, ["random", "px"], [0.5, 0.9], [0, 1])}
    assert found == {"dense": (), "random": (), "px": ("bf16=true",)}


@pytest.mark.parametrize("methods", [[], ["px", "px"]])
def test_what_cannot_be_compared(methods):
    with pytest.raises(InputError, match="give one or more, each once"):
        cells(RECIPE, methods, [0.9], [0])


@pytest.mark.parametrize("name", ["../../x", "a/b", "/root"])
def test_the_folder_lies_under_out_whatever_the_recipe_is_called(name: str) -> None:
    folder = compare._folder(replace(RECIPE, name=name), [Result(Path("runs/a"), {})], Path("runs"))
    assert folder.parent == Path("runs")
    assert ".." not in folder.parts
