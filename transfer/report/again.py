"""Commands that make runs again."""

from __future__ import annotations

import dataclasses
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transfer.recipe import Recipe
from transfer.report.record import Record, flat
from transfer.report.rows import Row

_METHOD = ("prune.method", "prune.sparsity")


def command(row: Row) -> str:
    """Return one shell line that makes all runs of a row again."""
    first, seeds = next(iter(row.runs.values())), list(row.runs)
    usual = _usual(first.recipe.name)
    if usual is None:
        return "\n".join(_from_file(run) for run in row.runs.values())
    words = ["python", "-m", f"recipes.{first.recipe.name}", *flags(first.recipe, usual)]
    if len(seeds) == 1:
        return shlex.join([*words, "--seed", str(seeds[0])])
    return f'for seed in {" ".join(map(str, seeds))}; do {shlex.join(words)} --seed "$seed"; done'


def flags(recipe: Recipe, usual: Recipe) -> list[str]:
    """Return the flags that turn the recipe ``usual`` into this one, as it was run, but for its seed."""
    own, before = flat(recipe.to_dict()), flat(usual.to_dict())
    method = [path for path in _METHOD if before[path] != own[path] and not (recipe.prune.dense and path == _METHOD[0])]
    chosen = dataclasses.replace(usual.prune, method=recipe.prune.method, sparsity=recipe.prune.sparsity)
    plain = flat(dataclasses.replace(usual, prune=chosen).resolved().to_dict())  # as it runs with the method alone
    others = [path for path, value in own.items() if path != "seed" and plain[path] != value]
    return [word for path in (*method, *others) for word in _flag(path, own[path])]


def _flag(path: str, value: Any) -> list[str]:
    name = path.replace("_", "-")
    if isinstance(value, bool):
        head, _, tail = name.rpartition(".")
        return [f"--{name}" if value else f"--{head}{'.' if head else ''}no-{tail}"]
    return [f"--{name}", *map(str, value if isinstance(value, list) else [value])]


def _usual(name: str) -> Recipe | None:
    """Return the recipe of this project that makes single runs and has this name; None if there is none."""
    if not name.isidentifier() or find_spec("recipes") is None or find_spec(f"recipes.{name}") is None:
        return None
    module = import_module(f"recipes.{name}")
    found = getattr(module, "RECIPE", None)
    return found if isinstance(found, Recipe) and found.name == name and hasattr(module, "run_recipe") else None


def _from_file(run: Record) -> str:
    """Return a line that reads the settings from the run's own file: for recipes of the user and comparisons."""
    path = str(Path(run.folder) / "recipe.json")
    code = f"import json, transfer; transfer.run(transfer.Recipe.from_dict(json.load(open({path!r}))), out='runs')"
    return shlex.join(["python", "-c", code])
