"""The recommendation that ends a comparison: the best method, and the command for your own images."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from transfer.recipe import Prune, Recipe
from transfer.tasks import Task


def advice(rows: Sequence[Mapping[str, Any]], task: type[Task], pruned: Sequence[Recipe]) -> str | None:
    """Return a sentence, and on the next line a command if the task has one; None if nothing was pruned, or if what
    the masks are worth was tested (prune.ablate).

    The method is the one with the best mean at the highest sparsity.

    Args:
        rows: rows of a comparison, by method and sparsity, with the mean of the task's headline metric.
        task: the task.
        pruned: the recipes that were run.
    """
    highest, metric = max(row["sparsity"] for row in rows), task.headline
    if not highest or any(recipe.prune.ablate for recipe in pruned):
        return None
    best, *others = (row for row in rows if row["sparsity"] == highest)
    for row in others:
        best = row if metric.better(row["mean"], best["mean"]) else best
    (dense,) = (row for row in rows if not row["sparsity"])
    recipe = next(r for r in reversed(pruned) if r.prune.method == best["method"])
    sentence = (
        f"At {highest:.2%} sparsity {best['method']} kept most: {metric.text(best['mean'])} {metric.label}, "
        f"dense {metric.text(dense['mean'])}."
    )
    if not task.own_images:
        return sentence
    return f"{sentence} For your own images:\npython -m {_command(recipe, task.own_images)}"


def _command(recipe: Recipe, own_images: Sequence[str]) -> str:
    """Return the command for the user's images: with this pruning, and this backbone if it suits large images."""
    small = recipe.backbone == "embedded" or recipe.backbone.startswith("random:")
    module, *flags = own_images
    words = [module, "--backbone", "imagenet-v1" if small else recipe.backbone, *flags]
    return shlex.join([*words, *_flags(recipe.resolved().prune), *([] if small else _excluded(recipe.prune))])


def _flags(prune: Prune) -> list[str]:
    """Return the flags by which a recipe with the default pruning prunes like this one."""
    words = ["--prune.method", prune.method, "--prune.sparsity", f"{prune.sparsity:g}"]
    plain = Recipe(name="", prune=Prune(method=prune.method, sparsity=prune.sparsity)).resolved().prune
    for field in ("rounds", "statistics", "schedule", "allocation", "pattern"):
        if getattr(prune, field) != getattr(plain, field):
            words += [f"--prune.{field}", str(getattr(prune, field))]
    if prune.options:
        words += ["--prune.options", *prune.options]
    return words + ["--prune.recalibrate"] * prune.recalibrate


def _excluded(prune: Prune) -> list[str]:
    """Return the flag for the layers that are not pruned; their names suit the same backbone only."""
    return ["--prune.exclude", *prune.exclude] if prune.exclude else []
