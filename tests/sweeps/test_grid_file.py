"""Grids in files: those of the papers are what their papers say; mistakes in one's own are one line."""

from pathlib import Path

import pytest

from checkpoints import InputError
from transfer.runs.combinations import recipes, unique
from transfer.runs.prepare import check
from transfer.sweeps import grid_file

TABLE_1 = (0.8926, 0.956)
PX = (0.36, 0.5904, 0.738, 0.8322, 0.893, 0.9312, 0.956, 0.9717, 0.982)


@pytest.mark.parametrize("name", grid_file.names())
def test_the_papers_grids_are_valid(name: str) -> None:
    found = grid_file.load(name)
    all_ = recipes(found.recipe, found.grid)
    last = {r.prune.method: r for r in all_}.values()
    assert len(unique(list(last))) == len(last)
    for each in last:
        check(each)
    backbones, kernel = len(found.grid.backbones), "kernel" in name
    levels = TABLE_1 if name == "paper-imagenet-scratch" else PX
    assert len(all_) == max(backbones, 1) * 3 * (1 + (6 * 6 if kernel else 7 * len(levels)))
    assert kernel or found.grid.sparsities == levels
    if kernel:
        assert [1 / (1 - s) for s in found.grid.sparsities] == pytest.approx(
            [10 ** (k / 2) for k in range(1, 7)], rel=2e-4
        )


def test_settings_of_a_grid_go_over_those_of_its_recipe() -> None:
    train = grid_file.load("paper-cifar100-scratch").recipe.train
    assert (train.epochs, train.batch, train.nesterov, train.weight_decay, train.milestones) == (
        160, 128, True, 5e-4, (60, 120)
    )  # fmt: skip
    assert train.lr == 0.1


def test_one_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('recipe = "digits"\nmethods = ["px"]\nsparsities = [0.9, 0]\n[set.train]\nepochs = 1\n')
    found = grid_file.load(str(file))
    assert (found.recipe.train.epochs, found.grid.sparsities, found.grid.seeds) == (1, (0.9, 0.0), ())
    assert grid_file.load(str(file), "fashion-mnist").recipe.name == "fashion-mnist"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("recipe = ", r"own\.toml is not TOML"),
        ("\xff", "is not TOML"),
        ('methods = ["px"]', "names no recipe"),
        ('recipe = "digit"', "unknown recipe 'digit'; did you mean digits"),
        ('recipe = "digits"\nmethod = ["px"]', "has 'method'; did you mean methods"),
        ('recipe = "digits"\nmethods = "px"', "methods is 'px'"),
        ('recipe = "digits"\nsparsities = ["a"]', r"sparsities\.0 is 'a'"),
        ('recipe = "digits"\nset = 3', "recipe"),
        ('recipe = "digits"\n[set.train]\nepoch = 1', "train has no setting 'epoch'"),
        ('recipe = "digits"\n[set]\ntrain = 1', "train is 1"),
    ],
)
def test_a_mistake_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=line) as caught:
        grid_file.load(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line"), [("paper", "known: |did you mean paper-"), ("no.toml", "cannot read no.toml: No")]
)
def test_a_grid_that_is_not_there(name: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        grid_file.load(name)
