"""The recipes of a comparison or a sweep: one recipe under every combination of the lists of a grid."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from checkpoints.errors import InputError
from transfer.pruning import saliency
from transfer.recipe import KEEP, Recipe
from transfer.runs.grid import Grid


def recipes(recipe: Recipe, grid: Grid) -> list[Recipe]:
    """Return per backbone the dense recipe, then every method under all that it reads, each with all seeds.

    A list that a method does not read, such as the statistics of ``magnitude``, makes equal recipes: :func:`unique`.
    A recipe whose own method is keep, which has no sparsity, is there once per backbone and seed.

    Raises:
        InputError: the lists name the method keep. The recipes are not checked.
    """
    if KEEP in grid.methods:
        raise InputError(
            f"methods are {list(grid.methods)}; {KEEP} removes nothing, so that there is nothing to compare"
        )
    seeds = grid.seeds or (recipe.seed,)
    return [
        dataclasses.replace(pruned, backbone=backbone, seed=seed)
        for backbone in grid.backbones or (recipe.backbone,)
        for pruned in _pruned(recipe, grid)
        for seed in seeds
    ]


def unique(all_: Sequence[Recipe]) -> list[Recipe]:
    """Return the recipes without those that would be the same run as an earlier one."""
    return list({str(each.resolved().decisive()): each for each in reversed(all_)}.values())[::-1]


def _pruned(recipe: Recipe, grid: Grid) -> Iterator[Recipe]:
    own = recipe.prune
    yield _with(recipe, "dense", 0.0, own.allocation, own.statistics)
    if own.method == KEEP and not grid.methods:
        yield recipe
        return
    for method in grid.methods or (own.method,):
        for allocation in grid.allocations or (own.allocation,):
            for statistics in grid.statistics or (own.statistics,):
                for sparsity in grid.sparsities or (own.sparsity,):
                    if sparsity:
                        yield _with(recipe, method, sparsity, allocation, statistics)


def _with(recipe: Recipe, method: str, sparsity: float, allocation: str, statistics: str | None) -> Recipe:
    """Return the recipe with a pruning: options are for its own method, rounds for that and all that is iterative."""
    guide, own = saliency.guide(method, allocation), recipe.prune.method
    one_shot = own not in (method, guide) and guide in saliency.methods() and saliency.about(guide).rounds == 1
    changes: dict[str, Any] = {
        "method": method, "sparsity": sparsity, "allocation": allocation,
        "rounds": None if one_shot else recipe.prune.rounds,
        "options": recipe.prune.options if method == own else (),
        "statistics": statistics if saliency.statistics(method, allocation) else None,
    }  # fmt: skip
    return dataclasses.replace(recipe, prune=dataclasses.replace(recipe.prune, **changes))
