"""Find run folders and read what a report needs of them; what cannot be read becomes a line, not an error."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from checkpoints.errors import InputError, one_line
from transfer import tasks
from transfer.log import track
from transfer.recipe import Recipe
from transfer.report.record import Record
from transfer.runs.file_sizes import file_sizes
from transfer.runs.folder import read_json
from transfer.tasks import Task

_OF_A_RUN = ("recipe.json", "origin.json", "result.json")
_LISTS = ("comparison.json", "sweep.json")
_NEEDED = ("task", "method", "sparsity_asked", "sparsity", "kept", "total", "seed", "dataset")


@dataclass(frozen=True)
class Fault:
    """A run that a report cannot show, or a file of it: its folder, what is wrong in one line, and what it is of."""

    kind: Literal["failed", "missing", "unfinished", "damaged", "incomplete", "twice"]
    where: str
    what: str
    cell: str = ""


@dataclass
class Gathered:
    """The finished runs of some folders, and what is wrong with others."""

    records: list[Record] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def gather(folders: Sequence[Path], *, progress: bool = False) -> Gathered:
    """Read run folders, folders that hold run folders, and the folders of comparisons and sweeps.

    Raises:
        InputError: a folder is not there or holds no run; no run is finished; or a run's task is not registered.
    """
    found, runs = Gathered(), dict[Path, Path]()
    for folder in map(_with_name, folders):
        for run in _runs(folder, found):
            runs.setdefault(run.resolve(), run)
    for run in track(list(runs.values()), "reading runs", shown=progress):
        _read(run, found)
    found.faults = _each_once(found)
    if not found.records:
        why = f" ({found.faults[0].where}: {found.faults[0].what})" if found.faults else ""
        raise InputError(f"no run in {', '.join(map(str, folders))} is finished{why}; give runs that are")
    return found


def _with_name(folder: Path) -> Path:
    """Return the folder by a path that ends in its name."""
    return folder if folder.name not in ("", "..") else folder.resolve()


def _each_once(found: Gathered) -> list[Fault]:
    """Return the faults without repetitions; of a run that is finished now, only what is missing beside its result."""
    done = {record.folder.name for record in found.records}
    failed = {fault.where for fault in found.faults if fault.kind == "failed"}
    gone = {"failed": done, "missing": done | failed, "unfinished": failed}
    return [fault for fault in dict.fromkeys(found.faults) if fault.where not in gone.get(fault.kind, ())]


def _runs(folder: Path, found: Gathered) -> list[Path]:
    """Return the run folders that a folder stands for.

    Raises:
        InputError: there are none.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise InputError(f"{folder} {what}; give run folders, or folders that hold some, such as runs")
    if is_run(folder):
        return [folder]
    if any((folder / name).is_file() for name in _LISTS):
        runs = _listed(folder, found)
    else:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
        runs = [path for path in inside if is_run(path)]
        for path in inside:
            _listed(path, found)
    if not runs and not found.faults:
        raise InputError(f"{folder} holds no run; give run folders, or folders that hold some, such as runs")
    return runs


def is_run(folder: Path) -> bool:
    """Return whether a folder is one of a run, finished or not."""
    return any((folder / name).is_file() for name in _OF_A_RUN)


def _listed(folder: Path, found: Gathered) -> list[Path]:
    """Return the runs that a comparison or a sweep lists and that are there; note those that are not, and failures."""
    runs: list[Path] = []
    for path in (folder / name for name in _LISTS if (folder / name).is_file()):
        try:
            names, failed, cells = _names(path)
        except InputError as error:
            found.faults.append(Fault("damaged", str(path), str(error)))
            continue
        found.faults += [Fault("failed", name, one_line(what), _named(folder, name, cells)) for name, what in failed]
        there = [folder.parent / name for name in names]
        runs += [run for run in there if is_run(run)]
        gone = [run.name for run in there if not is_run(run)]
        found.faults += [
            Fault("missing", name, f"{path} lists it, but there is no such run", cells.get(name, "")) for name in gone
        ]
    return runs


def _named(folder: Path, name: str, cells: Mapping[str, str]) -> str:
    return cells.get(name) or _cell(folder.parent / name)


def _names(path: Path) -> tuple[list[str], list[tuple[str, str]], dict[str, str]]:
    """Return the names of runs in a list, of those that failed with their errors, and what the runs are of.

    Raises:
        InputError: the file is damaged.
    """
    content = read_json(path)
    try:
        names = [_name(name) for name in content["runs"]]
        failed = [(_name(row["run"]), str(row["error"])) for row in content.get("failed", [])]
        return names, failed, {_name(row["run"]): one_line(str(row["cell"])) for row in content.get("cells", [])}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"it is no list of runs ({error!r}); run the comparison again") from error


def _name(name: Any) -> str:
    if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no folder's name")
    return name


def _read(folder: Path, found: Gathered) -> None:
    """Add a run's record, or the reason why there is none.

    Raises:
        InputError: its task is not registered; an import mends that.
    """
    if not (folder / "result.json").is_file():
        found.faults.append(Fault("unfinished", folder.name, _how_far(folder), _cell(folder)))
        return
    try:
        recipe, result = Recipe.from_dict(read_json(folder / "recipe.json")), read_json(folder / "result.json")
        _check(recipe, result)
        task = _task(folder, result["task"])
        _check_for(task, result)
    except UnknownTask:
        raise
    except InputError as error:
        found.faults.append(Fault("damaged", folder.name, str(error), _cell(folder)))
    else:
        found.records.append(_record(folder, recipe, result, found))


def _cell(folder: Path) -> str:
    """Return method, sparsity and seed of a run that is not finished; nothing if its recipe is not there."""
    try:
        recipe = Recipe.from_dict(read_json(folder / "recipe.json"))
    except InputError:
        return ""
    what = "dense" if recipe.prune.dense else f"{recipe.prune.method} {recipe.prune.sparsity:.2%}"
    return f"{what}, seed {recipe.seed}"


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
    if not numbers or not types or not 0 <= result["sparsity_asked"] < 1 or result["seed"] != recipe.seed:
        raise InputError("result.json is damaged or of another recipe; remove the folder and run again")


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


def _record(folder: Path, recipe: Recipe, result: Mapping[str, Any], found: Gathered) -> Record:
    """Return a run's record; a file beside the result that cannot be read is left out and noted."""
    parts = _Parts(folder, found)
    prune_s, train_s = parts.read("timing.json", _timing, (None, None))
    dense_bytes, sparse_bytes = parts.read("model.safetensors", file_sizes, (None, None))
    return Record(
        folder, recipe, result,
        data=parts.read("origin.json", lambda path: dict(read_json(path)["data"]), {}),
        layers=parts.read("layers.csv", _layers, ()), epochs=parts.read("metrics.jsonl", _epochs, ()),
        prune_s=prune_s, train_s=train_s, dense_bytes=dense_bytes, sparse_bytes=sparse_bytes,
        spectrum=parts.read("spectrum.json", _spectrum, None, usual=False),
    )  # fmt: skip


@dataclass(frozen=True)
class _Parts:
    """The files beside a result."""

    folder: Path
    found: Gathered

    def read(self, name: str, reader: Any, absent: Any, *, usual: bool = True) -> Any:
        """Return what a file holds; ``absent``, noted where the file is ``usual``, if it is not there or damaged."""
        path = self.folder / name
        if not path.is_file():
            if usual:
                self._note(name, "is not there")
            return absent
        try:
            return reader(path)
        except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError, csv.Error) as error:
            self._note(name, one_line(f"cannot be read ({error})"))
            return absent

    def _note(self, name: str, what: str) -> None:
        self.found.faults.append(Fault("incomplete", self.folder.name, f"{name} {what}; the rest is shown"))


def _timing(path: Path) -> tuple[float, float]:
    content = read_json(path)
    return float(content["prune_s"]), float(sum(content["epochs_s"]))


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


def _spectrum(path: Path) -> dict[str, list[float]]:
    content = read_json(path)
    return {name: _eigenvalues(content[name]) for name in ("dense", "pruned")}


def _eigenvalues(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values]
