"""The pairs of a method and an allocation that a search tries, each as a recipe."""

from collections.abc import Sequence

from checkpoints.errors import InputError, near
from transfer.pruning import allocation, saliency
from transfer.recipe import GMP, IMP, KEEP, Recipe
from transfer.runs.combinations import recipes
from transfer.runs.grid import Grid
from transfer.runs.prepare import check

_UNFIT = {
    IMP: "prunes by training to the end several times",
    GMP: "has its full sparsity only late in a training",
    KEEP: "removes nothing",
}


def candidates(recipe: Recipe, methods: Sequence[str], allocations: Sequence[str]) -> list[Recipe]:
    """Return every method with every allocation, each once; the other settings are the recipe's.

    Raises:
        InputError: nothing is pruned, a name is unknown or cannot be searched, or a setting is invalid.
    """
    methods, allocations = list(dict.fromkeys(methods)), list(dict.fromkeys(allocations))
    if not recipe.prune.sparsity:
        raise InputError("prune.sparsity is 0, so that every method does the same; give --prune.sparsity above 0")
    if not methods or not allocations:
        raise InputError("there is nothing to try; give one or more --methods and --allocations")
    for name in methods:
        _check_method(name)
    for name in allocations:
        allocation.check(name)
    grid = Grid(tuple(methods), allocations=tuple(allocations))
    found = [each for each in recipes(recipe, grid) if not each.prune.dense]
    for each in found:
        check(each)
    return found


def _check_method(name: str) -> None:
    if name in _UNFIT:
        raise InputError(f"methods has {name}, which {_UNFIT[name]}, and cannot be searched; leave it out")
    if name not in saliency.methods():
        raise InputError(f"unknown method {name!r}; {near(name, saliency.methods())}")
