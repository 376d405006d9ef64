"""Grids in files: a recipe, what differs of it, and the lists of a sweep. Those of the papers ship with the package."""

import json
import sys
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError, near
from transfer.find_recipe import find_to_vary
from transfer.recipe import Recipe
from transfer.runs.grid import Grid

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
LISTS = tuple(field.name for field in fields(Grid))


@dataclass(frozen=True)
class GridFile:
    """A grid as it is written down."""

    about: str
    recipe: Recipe
    grid: Grid


def names() -> list[str]:
    """Return the names of the grids that ship with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _home().iterdir() if file.name.endswith(".toml"))


def load(name: str, recipe: str | None = None) -> GridFile:
    """Read a grid by name, or from a file of the user's own.

    Args:
        name: one of :func:`names`, or a path that ends in .toml.
        recipe: a recipe in the place of the file's.

    Raises:
        InputError: there is no such grid, or it has a key or a value that no grid has.
    """
    content, where = _read(name)
    known = ["about", "recipe", "set", *LISTS]
    for key in content:
        if key not in known:
            raise InputError(f"{where} has {key!r}; {near(key, known)}")
    asked = recipe or content.get("recipe")
    if not isinstance(asked, str):
        raise InputError(f'{where} names no recipe; write recipe = "digits", or give one before --grid')
    try:
        return GridFile(
            str(content.get("about", "")), changed(find_to_vary(asked), content.get("set", {})),
            _lists({key: content[key] for key in LISTS if key in content}),
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def changed(recipe: Recipe, settings: Any) -> Recipe:
    """Return the recipe with other settings, given as nested tables.

    Raises:
        InputError: there is no such setting, or its value is not allowed.
    """
    return Recipe.from_dict(_merged(recipe.to_dict(), settings))


def _merged(content: Any, settings: Any) -> Any:
    if not (isinstance(content, dict) and isinstance(settings, dict)):
        return settings
    return content | {key: _merged(content.get(key), value) for key, value in settings.items()}


def _lists(content: dict[str, Any]) -> Grid:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Grid).validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        raise InputError(f"{path} is {first['input']!r:.200}; {first['msg']}") from error


def _read(name: str) -> tuple[dict[str, Any], str]:
    """Return the content of a grid's file, and what to call it in an error."""
    if name.endswith(".toml"):
        where, read = name, Path(name).read_text
    elif name in names():
        where, read = f"grid {name}", (_home() / f"{name}.toml").read_text
    else:
        raise InputError(f"unknown grid {name!r}; {near(name, names())}, or give a file that ends in .toml")
    try:
        content: dict[str, Any] = tomllib.loads(read("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {where}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{where} is not TOML: {error}") from error
    return content, where


def _home() -> Any:
    return files("transfer") / "grids"
