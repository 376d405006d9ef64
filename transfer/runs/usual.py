"""What a run is made from besides its settings: the recipe of this project under its name, and modules of the user."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from checkpoints.errors import InputError
from transfer import data, find_recipe, tasks
from transfer.pruning import saliency
from transfer.recipe import Recipe


def usual_recipe(name: str) -> Recipe | None:
    """Return the recipe of this project that makes single runs and has this name; None if there is none."""
    module = name.replace("-", "_")
    if module not in find_recipe.names():
        return None
    script = import_module(f"recipes.{module}")
    found = getattr(script, "RECIPE", None)
    return found if isinstance(found, Recipe) and found.name == name and hasattr(script, "run_recipe") else None


def modules_of(recipe: Recipe) -> list[str]:
    """Return the modules of the user that register the recipe's methods, its data set and its task.

    What is registered by a script itself, or not registered in this process, is in no module that could be named.
    """
    found = {str(getattr(each, "func", each).__module__) for each in _registered(recipe)}  # func: functools.partial
    own = __name__.partition(".")[0]
    return sorted(name for name in found if name.partition(".")[0] not in (own, "__main__"))


def _registered(recipe: Recipe) -> Iterator[Any]:
    for name in {recipe.prune.method, recipe.prune.allocation} & set(saliency.methods()):
        yield saliency.find(name)
    try:
        read, task = data.loader(recipe.data.name), data.task(recipe.data.name)
    except InputError:
        return
    if not isinstance(read, str):
        yield read
    yield tasks.find(task)
