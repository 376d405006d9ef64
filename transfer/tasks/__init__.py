"""Tasks by name: all that differs between them stands in one file each (docs/adding_a_task.md)."""

from importlib import import_module

from checkpoints.errors import InputError, near
from transfer import data
from transfer.recipe import Recipe
from transfer.tasks.task import Feed, Metric, Shown, Task

__all__ = ["Feed", "Metric", "Shown", "Task", "check", "find", "names", "register"]

_TASKS: dict[str, str | type[Task]] = {
    "classification": "classification:Classification",
    "segmentation": "segmentation:Segmentation",
}


def names() -> list[str]:
    """Return the names of the known tasks."""
    return list(_TASKS)


def register(task: type[Task]) -> type[Task]:
    """Add a task of your own under its ``name``; also a decorator.

    Raises:
        InputError: the name is taken.
    """
    known = _TASKS.get(task.name)
    if known is not None and not _same(known, task):
        raise InputError(f"task {task.name!r} exists; choose another name")
    _TASKS[task.name] = task
    return task


def _same(known: str | type[Task], task: type[Task]) -> bool:
    """Return whether a task is registered anew, as when its module runs a second time."""
    return not isinstance(known, str) and known.__qualname__ == task.__qualname__


def find(name: str) -> type[Task]:
    """Return a task by name.

    Raises:
        InputError: the name is unknown.
    """
    if name not in _TASKS:
        raise InputError(f"task {name!r} is unknown; {near(name, names())}, or --import the module that registers it")
    found = _TASKS[name]
    if isinstance(found, str):
        module, _, kind = found.partition(":")
        found = getattr(import_module(f"{__name__}.{module}"), kind)
        _TASKS[name] = found
    return found


def check(recipe: Recipe) -> None:
    """Refuse a setting that the recipe's task does not read.

    Raises:
        InputError: it has been changed from its default; the line names it.
    """
    own, plain = find(data.task(recipe.data.name)), Recipe(name="")
    for path in dict.fromkeys(path for name in names() for path in find(name).settings):
        if path not in own.settings and recipe.at(path) != plain.at(path):
            raise InputError(
                f"{path} is set, but does nothing with {recipe.data.name}, whose task is {own.name}; leave it out"
            )
