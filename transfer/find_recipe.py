"""Recipes by name, or in a file of a run."""

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError, near
from checkpoints.files import read_json
from transfer.recipe import Prune, Recipe


def names() -> list[str]:
    """Return the names of the modules in ``recipes``."""
    spec = find_spec("recipes")
    folders = spec.submodule_search_locations if spec is not None else None
    return sorted(p.stem for folder in folders or () for p in Path(folder).glob("*.py") if p.stem != "__init__")


def is_file(text: str) -> bool:
    """Return whether a recipe is meant as a file, or as the folder of a run, rather than by its name."""
    return text.replace("-", "_") not in names() and (text.endswith(".json") or Path(text).is_dir())


def find(text: str) -> Recipe:
    """Return a recipe by the name of its module, from a ``recipe.json`` or from a run folder that has one.

    Raises:
        InputError: there is none.
    """
    if is_file(text):
        return read(Path(text))
    found = import_module(f"recipes.{module(text)}").RECIPE
    assert isinstance(found, Recipe)
    return found


def module(text: str) -> str:
    """Return the module of a recipe, by its name with dashes or underscores.

    Raises:
        InputError: there is none.
    """
    name = text.replace("-", "_")
    if name not in names():
        raise InputError(f"unknown recipe {text!r}; {near(name, names())}, or give a recipe.json or a run's folder")
    return name


def find_to_vary(text: str) -> Recipe:
    """Return a recipe as :func:`find` does; of a run folder's, without settings that are only its method's defaults.

    Raises:
        InputError: there is none.
    """
    recipe = find(text)
    of_a_run = is_file(text) and (Path(text).is_dir() or Path(text).name == "recipe.json")
    return _without_defaults(recipe) if of_a_run else recipe


def _without_defaults(recipe: Recipe) -> Recipe:
    run = recipe.resolved()
    for name in ("rounds", "schedule", "statistics"):
        unset: dict[str, Any] = {name: None}
        changed = replace(recipe, prune=replace(recipe.prune, **unset))
        if changed.resolved() == run:
            recipe = changed
    return recipe


def read(path: Path) -> Recipe:
    """Return the recipe in a file or in a run folder.

    Raises:
        InputError: there is no recipe.
    """
    recipe = Recipe.from_dict(read_json(path / "recipe.json" if path.is_dir() else path))
    if recipe.prune.method == "dense":  # a run folder's: its pruning was reset, rounds too
        return replace(recipe, prune=Prune(sparsity=0.0))
    return recipe
