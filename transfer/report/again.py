"""Commands that make runs again."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transfer.recipe import Recipe
from transfer.report.record import Record, flat
from transfer.report.rows import Row

_METHOD = ("prune.method", "prune.sparsity")


def command(row: Row, usual: Recipe | None, modules: Sequence[str] = ()) -> str:
    """Return one shell line that makes all runs of a row again; without a usual recipe, one for each run.

    Args:
        row: the runs.
        usual: the recipe of this project that makes single runs under the name of the runs' recipe; None = there is
            none, and the settings are read from the run's own file.
        modules: modules of the user's own that register what the runs need.
    """
    recipe, seeds = row.first.recipe, list(row.runs)
    if usual is None:
        return "\n".join(_from_file(run, modules) for run in row.runs.values())
    words = [*_launch(recipe.name.replace("-", "_"), modules), *flags(recipe, usual)]
    if len(seeds) == 1:
        return shlex.join([*words, "--seed", str(seeds[0])])
    return f'for seed in {" ".join(map(str, seeds))}; do {shlex.join(words)} --seed "$seed"; done'


def _launch(name: str, modules: Sequence[str]) -> list[str]:
    """Return the words that start a recipe; the transfer command imports modules, the recipe's own script does not."""
    imports = [word for module in modules for word in ("--import", module)]
    return ["transfer", *imports, "run", name] if modules else ["python", "-m", f"recipes.{name}"]


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


def _from_file(run: Record, modules: Sequence[str]) -> str:
    """Return a line that reads the settings from the run's own file: for recipes of the user and comparisons."""
    folder, names = Path(run.folder), ["json", "transfer", *modules]
    opened = f"open({str(folder / 'recipe.json')!r})"
    if folder.parent.suffix == ".zip":
        names.append("zipfile")
        opened = f"zipfile.ZipFile({str(folder.parent)!r}).open({folder.name + '/recipe.json'!r})"
    code = f"import {', '.join(names)}; transfer.run(transfer.Recipe.from_dict(json.load({opened})), out='runs')"
    return shlex.join(["python", "-c", code])
