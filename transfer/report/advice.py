"""The last words of a comparison: which method kept most, and the command that uses it on the reader's images."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from transfer.recipe import Prune, Recipe

_TASKS = {"accuracy": ("accuracy", "digits", "imagefolder:PATH"), "miou": ("mIoU", "voc2012", "voc-folder:PATH")}


def advice(rows: Sequence[Mapping[str, Any]], headline: str, pruned: Sequence[Recipe]) -> str | None:
    """Return a sentence and a command, on a line each; None when nothing was pruned.

    ``rows`` are a comparison's, by method and sparsity with the mean of the ``headline`` metric, and ``pruned`` the
    recipes that were run. The method is the one with the highest mean at the highest sparsity.
    """
    highest = max(row["sparsity"] for row in rows)
    if not highest:
        return None
    best = max((row for row in rows if row["sparsity"] == highest), key=lambda row: row["mean"])
    (dense,) = (row for row in rows if not row["sparsity"])
    kept, of = (f"{row['mean']:.2%}" for row in (best, dense))
    recipe = next(r for r in reversed(pruned) if r.prune.method == best["method"])
    return (
        f"At {highest:.2%} sparsity {best['method']} kept most: {kept} {_TASKS[headline][0]}, dense {of}. "
        f"For your own images:\npython -m {_command(recipe, headline)}"
    )


def _command(recipe: Recipe, headline: str) -> str:
    """Return the recipe to start from, with the pruning of this one, and the backbone where it suits large images."""
    _, name, data = _TASKS[headline]
    small = recipe.backbone == "embedded" or recipe.backbone.startswith("random:")
    words = [f"recipes.{name}", "--backbone", "imagenet-v1" if small else recipe.backbone, "--data.name", data]
    if headline == "accuracy":
        words += ["--data.size", "224"]
    return shlex.join([*words, *_flags(recipe.resolved().prune)])


def _flags(prune: Prune) -> list[str]:
    """Return what a recipe that prunes by default needs to prune like this one."""
    words = ["--prune.method", prune.method, "--prune.sparsity", f"{prune.sparsity:g}"]
    plain = Recipe(name="", prune=Prune(method=prune.method, sparsity=prune.sparsity)).resolved().prune
    for field in ("rounds", "statistics", "schedule", "allocation"):
        if getattr(prune, field) != getattr(plain, field):
            words += [f"--prune.{field}", str(getattr(prune, field))]
    if prune.options:
        words += ["--prune.options", *prune.options]
    return words + ["--prune.recalibrate"] * prune.recalibrate
