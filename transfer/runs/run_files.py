"""Read what a report needs of a run folder; what cannot be read becomes a line, not an error."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from checkpoints.errors import InputError, one_line
from checkpoints.files import read_json
from transfer import tasks
from transfer.recipe import KEEP, Recipe
from transfer.report.record import Record
from transfer.runs.file_sizes import file_sizes
from transfer.runs.naming import called
from transfer.tasks import Task

TEXTS = (
    "recipe.json", "origin.json", "result.json", "layers.csv", "metrics.jsonl", "timing.json", "spectrum.json",
)  # fmt: skip
SIZES = "sizes.json"
_WEIGHTS = "model.safetensors"
_OF_A_RUN = ("recipe.json", "origin.json", "result.json")
_NEEDED = ("task", "method", "sparsity_asked", "sparsity", "kept", "total", "seed", "dataset")


@dataclass(frozen=True)
class Fault:
    """A run that a report cannot show, or a file of it: its folder, what is wrong in one line, and what it is of."""

    kind: Literal["failed", "missing", "unfinished", "damaged", "incomplete", "twice"]
    where: str
    what: str
    cell: str = ""


def is_run(folder: Path) -> bool:
    """Return whether a folder is one of a run, finished or not; one that cannot be opened is none."""
    return any(os.path.isfile(folder / name) for name in _OF_A_RUN)


def read_run(folder: Path) -> tuple[Record | None, list[Fault]]:
    """Return a run's record, None if it cannot be shown, and what is wrong with its files.

    Raises:
        UnknownTask: its task is not registered; an import mends that.
    """
    if not os.path.isfile(folder / "result.json"):
        return None, [Fault("unfinished", folder.name, _how_far(folder), cell_of(folder))]
    try:
        recipe, result = Recipe.from_dict(read_json(folder / "recipe.json")), read_json(folder / "result.json")
        _check(recipe, result)
        task = _task(folder, result["task"])
        _check_for(task, result)
    except UnknownTask:
        raise
    except InputError as error:
        return None, [Fault("damaged", folder.name, str(error), cell_of(folder))]
    except OSError as error:
        return None, [Fault("damaged", folder.name, one_line(f"it cannot be read ({error.strerror or error})"))]
    return _record(folder, recipe, result)


def cell_of(folder: Path) -> str:
    """Return method, sparsity and seed of a run that is not finished; nothing if its recipe cannot be read."""
    try:
        recipe = Recipe.from_dict(read_json(folder / "recipe.json"))
    except (InputError, OSError):
        return ""
    return called(recipe)


def _how_far(folder: Path) -> str:
    try:
        epochs = len((folder / "metrics.jsonl").read_text().splitlines())
    except (OSError, UnicodeDecodeError):
        epochs = 0
    done = f"{epochs} of its epochs are done" if epochs else "no epoch is done"
    return f"no result yet, {done}; the command that began it goes on"


def _check(recipe: Recipe, result: Any) -> None:
    """Refuse what is no result of this recipe.

    Raises:
        InputError: it is not.
    """
    absent = [name for name in _NEEDED if name not in result] if isinstance(result, dict) else _NEEDED
    if absent:
        raise InputError(f"result.json has no {absent[0]}; remove the folder and run again")
    numbers = all(_is_number(result[name]) for name in ("sparsity_asked", "sparsity", "kept", "total"))
    types = isinstance(result["task"], str) and isinstance(result.get("versions", {}), dict)
    if not numbers or not types or not _in_range(result) or not _of(recipe, result):
        raise InputError("result.json is damaged or of another recipe; remove the folder and run again")


def _in_range(result: Mapping[str, Any]) -> bool:
    most = 1 if result["method"] != KEEP else math.nextafter(1, 0)  # a chart has no place for a network without weights
    return 0 <= result["sparsity_asked"] < 1 and 0 <= result["sparsity"] <= most


def _of(recipe: Recipe, result: Mapping[str, Any]) -> bool:
    own = recipe.prune
    return (result["seed"], result["method"], result["sparsity_asked"]) == (recipe.seed, own.method, own.sparsity)


def _check_for(task: type[Task], result: Mapping[str, Any]) -> None:
    """Refuse a result that lacks what its task needs.

    Raises:
        InputError: it does.
    """
    name = task.headline.name
    try:
        task.data_line(result)
        if not _is_number(result[name]):
            raise ValueError(f"{name} is {result[name]!r}")
    except (KeyError, TypeError, ValueError) as error:
        what = f"result.json lacks what {task.name} needs ({error!r})"
        raise InputError(f"{what}; remove the folder and run again") from error


def _task(folder: Path, name: str) -> type[Task]:
    try:
        return tasks.find(name)
    except InputError as error:
        raise UnknownTask(f"{folder.name}: {error}") from error


class UnknownTask(InputError):
    """A run's task is not registered."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _record(folder: Path, recipe: Recipe, result: Mapping[str, Any]) -> tuple[Record, list[Fault]]:
    """Return a run's record; a file beside the result that cannot be read is left out and noted."""
    parts = _Parts(folder, [])
    prune_s, train_s = parts.read("timing.json", _timing, (None, None))
    packed = not os.path.isfile(folder / _WEIGHTS) and os.path.isfile(folder / SIZES)
    weights, sizes = (SIZES, _sizes) if packed else (_WEIGHTS, file_sizes)
    dense_bytes, sparse_bytes = parts.read(weights, sizes, (None, None))
    spectrum, computed = parts.read("spectrum.json", _spectrum, (None, {}), usual=False)
    record = Record(
        folder, recipe, result,
        data=parts.read("origin.json", lambda path: dict(read_json(path)["data"]), {}),
        layers=parts.read("layers.csv", _layers, ()), epochs=parts.read("metrics.jsonl", _epochs, ()),
        prune_s=prune_s, train_s=train_s, dense_bytes=dense_bytes, sparse_bytes=sparse_bytes,
        spectrum=spectrum, spectrum_settings=computed,
    )  # fmt: skip
    return record, parts.faults


@dataclass(frozen=True)
class _Parts:
    """The files beside a result."""

    folder: Path
    faults: list[Fault]

    def read(self, name: str, reader: Any, absent: Any, *, usual: bool = True) -> Any:
        """Return what a file holds; ``absent``, noted where the file is ``usual``, if it is not there or damaged."""
        path = self.folder / name
        if not os.path.isfile(path):
            if usual:
                self._note(name, "is not there")
            return absent
        try:
            return reader(path)
        except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError, csv.Error) as error:
            self._note(name, one_line(f"cannot be read ({error})"))
            return absent

    def _note(self, name: str, what: str) -> None:
        self.faults.append(Fault("incomplete", self.folder.name, f"{name} {what}; the rest is shown"))


def _timing(path: Path) -> tuple[float, float]:
    content = read_json(path)
    return float(content["prune_s"]), float(sum(content["epochs_s"]))


def _sizes(path: Path) -> tuple[int, int]:
    content = read_json(path)
    return int(content["dense_bytes"]), int(content["sparse_bytes"])


def _layers(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [_layer(row) for row in csv.DictReader(file)]


def _layer(row: Mapping[str, str]) -> dict[str, Any]:
    return {"layer": row["layer"], **{name: float(row[name]) for name in ("density", "units", "dead_units")}}


def _epochs(path: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: float(value) for name, value in _numbers(row)} for row in rows if float(row["epoch"]) >= 0]


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    yield from ((name, value) for name, value in row.items() if _is_number(value))


def _spectrum(path: Path) -> tuple[dict[str, list[float]], dict[str, Any]]:
    content = read_json(path)
    values = {name: _eigenvalues(content[name]) for name in ("dense", "pruned")}
    return values, dict(content.get("settings", {}))


def _eigenvalues(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values]
