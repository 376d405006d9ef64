"""Which runs a sweep has: every combination once, the dense model per backbone and seed."""

from dataclasses import replace
from pathlib import Path

import pytest

from checkpoints import InputError
from tests.sweeps.small import RECIPE
from transfer.recipe import Prune, Recipe
from transfer.runs.combinations import recipes, unique
from transfer.runs.grid import Grid
from transfer.sweeps.cells import naming, planned


def described(recipe: Recipe) -> tuple[object, ...]:
    prune = recipe.prune
    return recipe.backbone, prune.method, prune.allocation, prune.statistics, prune.sparsity, recipe.seed


def test_all_combinations_against_nested_loops() -> None:
    grid = Grid(("px", "snip"), (0.5, 0.9), ("a", "b"), ("batch", "running"), ("global", "erk"), (0, 1))
    expected = []
    for backbone in ("a", "b"):
        expected += [(backbone, "dense", "global", None, 0.0, seed) for seed in (0, 1)]
        for method in ("px", "snip"):
            for allocation in ("global", "erk"):
                for statistics in ("batch", "running"):
                    for sparsity in (0.5, 0.9):
                        expected += [(backbone, method, allocation, statistics, sparsity, seed) for seed in (0, 1)]
    assert [described(each) for each in recipes(RECIPE, grid)] == expected
    assert unique(recipes(RECIPE, grid)) == recipes(RECIPE, grid)


def test_empty_lists_stand_for_the_recipes_own_values() -> None:
    dense, own = recipes(RECIPE, Grid())
    assert dense.prune.dense
    assert own == RECIPE


@pytest.mark.parametrize(
    ("grid", "left", "same"),
    [
        (Grid(("magnitude",), (0.5,), statistics=("batch", "running")), 2, 1),  # it sees no BatchNorm
        (Grid(("magnitude", "random", "magnitude"), (0.5,)), 3, 1),
        (Grid(("magnitude",), (0.5, 0.5, 0.0)), 2, 1),
        (Grid(("snip",), (0.5,), seeds=(3, 3)), 2, 2),
        (Grid(("snip",), (0.5,), statistics=("batch",)), 2, 0),
    ],
)
def test_equal_runs_are_left_out_and_counted(grid: Grid, left: int, same: int) -> None:
    cells, more = planned(RECIPE, grid, Path("runs"))
    assert (len(cells), more) == (left, same)


def test_a_value_that_is_the_default_is_the_same_run_as_none() -> None:
    asked = recipes(RECIPE, Grid(("snip",), (0.5,))) + recipes(RECIPE, Grid(("snip",), (0.5,), statistics=("batch",)))
    assert len(unique(asked)) == 2


def test_names_tell_apart_what_the_grid_varies() -> None:
    grid = Grid(("px", "magnitude"), (0.5, 0.9), ("a", "b"), ("batch", "running"), ("global", "erk"), (0, 1))
    all_ = unique(recipes(RECIPE, grid))
    assert len({naming(grid)(each) for each in all_}) == len(all_)
    assert naming(grid)(all_[2]) == "a, px 50.00%, allocation global, statistics batch, seed 0"
    assert naming(Grid(("px",)))(all_[2]) == "px 50.00%, seed 0"


@pytest.mark.parametrize(
    ("grid", "line"),
    [
        (Grid(("keep",)), "keep removes nothing"),
        (Grid(("pxx",)), r"pxx 50\.00%, seed 0: .*pxx"),
        (Grid(sparsities=(1.5,)), r"prune\.sparsity is 1\.5"),
        (Grid(allocations=("er",)), r"er.*did you mean erk"),
        (Grid(seeds=(-1,)), "seed is -1"),
    ],
)
def test_what_cannot_be_swept_is_one_line(grid: Grid, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        planned(RECIPE, grid, Path("runs"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_a_recipe_that_keeps_a_backbones_zeros_has_one_such_cell_a_seed(sparsity: float) -> None:
    recipe = replace(RECIPE, prune=Prune("keep", sparsity))
    cells, same = planned(recipe, Grid(sparsities=(0.5, 0.9), seeds=(0, 1)), Path("runs"))
    assert [str(each.cell) for each in cells] == ["dense, seed 0", "dense, seed 1", "keep, seed 0", "keep, seed 1"]
    assert same == 0


def test_sparsities_that_are_close_have_names_of_their_own() -> None:
    cells, _ = planned(RECIPE, Grid(("px",), (0.98201, 0.98204)), Path("runs"))
    assert [str(each.cell) for each in cells[1:]] == ["px 98.201%, seed 0", "px 98.204%, seed 0"]
