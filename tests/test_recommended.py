"""The recommended method is what is used unless another is named; recipes of a paper's row keep the paper's."""

from importlib import import_module

import pytest

from transfer.pruning import RECOMMENDED, default_rounds, methods
from transfer.pruning.saliency import statistics
from transfer.recipe import Recipe
from transfer.recipe_cli import Comparing

PAPERS = ["cifar10_scratch", "cifar100_scratch", "tiny_imagenet_scratch", "imagenet_scratch"]


def test_it_is_a_method_that_looks_at_the_network_that_trains_in_several_rounds():
    assert RECOMMENDED in methods()
    assert statistics(RECOMMENDED) == "batch"
    assert default_rounds(RECOMMENDED) == 20


@pytest.mark.parametrize("name", ["quickstart", "voc_quickstart", "digits", "fashion_mnist"])
def test_recipes_of_our_own_use_it(name):
    assert import_module(f"recipes.{name}").RECIPE.prune.method == Recipe(name="").prune.method == RECOMMENDED


@pytest.mark.parametrize("name", [*PAPERS, "cifar10", "cifar100", "tiny_imagenet", "voc2012"])
def test_recipes_of_a_papers_row_keep_px(name):
    prune = import_module(f"recipes.{name}").RECIPE.resolved().prune
    assert (prune.method, prune.rounds) == ("px", 100)


def test_comparisons_show_it_first():
    assert Comparing(Recipe(name="")).methods[0] == RECOMMENDED
