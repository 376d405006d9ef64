"""What people call a run: its pruning, and its seed."""

from decimal import Decimal

from transfer.recipe import KEEP, Recipe


def called(recipe: Recipe) -> str:
    """Return the name of a run among others of the same recipe, such as ``px 98.20%, seed 0``."""
    return f"{pruning(recipe)}, seed {recipe.seed}"


def pruning(recipe: Recipe) -> str:
    """Return what is pruned and how: ``dense``, ``keep``, or a method and a sparsity."""
    prune = recipe.prune
    if prune.method == KEEP:
        return KEEP
    return f"{prune.method} {percent(prune.sparsity)}" if prune.sparsity else "dense"


def percent(fraction: float) -> str:
    """Return a fraction in percent, with two decimals or as many as tell it from any other."""
    if float(f"{fraction:.4f}") == fraction:
        return f"{fraction:.2%}"
    return f"{(100 * Decimal(repr(fraction))).normalize():f}%"
