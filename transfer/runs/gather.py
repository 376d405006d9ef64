"""Find the run folders that a report is about, and what the lists of comparisons and sweeps say of others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError, one_line
from checkpoints.files import read_json
from transfer.log import track
from transfer.report.record import Record
from transfer.runs.run_files import Fault, cell_of, is_run, read_run

LISTS = ("comparison.json", "sweep.json")


@dataclass
class Gathered:
    """The finished runs of some folders, what is wrong with others, and the folders: of all runs, and of lists."""

    records: list[Record] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    runs: list[Path] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)


def gather(folders: Sequence[Path], *, progress: bool = False) -> Gathered:
    """Read run folders, folders that hold run folders, and the folders of comparisons and sweeps.

    Raises:
        InputError: a folder is not there or holds no run; no run is finished; or a run's task is not registered.
    """
    found, runs = Gathered(), dict[Path, Path]()
    for folder in map(_with_name, folders):
        for run in _runs(folder, found):
            runs.setdefault(run.resolve(), run)
    found.runs = list(runs.values())
    for run in track(found.runs, "reading runs", shown=progress):
        record, faults = read_run(run)
        found.records += [record] if record else []
        found.faults += faults
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
    if not os.path.isdir(folder):  # Path's own raises where a folder above cannot be opened
        what = "is neither a folder nor a zip" if os.path.exists(folder) else "is not there, or cannot be reached"
        raise InputError(f"{folder} {what}; give run folders, or folders that hold some, such as runs")
    if is_run(folder):
        return [folder]
    if any((folder / name).is_file() for name in LISTS):
        runs = _listed(folder, found)
    else:
        inside = _inside(folder, found)
        runs = [path for path in inside if is_run(path)]
        for path in inside:
            _listed(path, found)
    if not runs and not found.faults:
        raise InputError(f"{folder} holds no run; give run folders, or folders that hold some, such as runs")
    return runs


def _inside(folder: Path, found: Gathered) -> list[Path]:
    """Return the folders in a folder; note those that cannot be opened.

    Raises:
        InputError: the folder itself cannot be.
    """
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror or error}); mend its permissions") from error
    closed = [path for path in inside if not os.access(path, os.R_OK | os.X_OK)]
    found.faults += [Fault("damaged", path.name, "it cannot be opened; mend its permissions") for path in closed]
    return [path for path in inside if path not in closed]


def _listed(folder: Path, found: Gathered) -> list[Path]:
    """Return the runs that a comparison or a sweep lists and that are there; note those that are not, and failures."""
    runs: list[Path] = []
    for path in (folder / name for name in LISTS if (folder / name).is_file()):
        try:
            names, failed, cells = _names(path)
        except (InputError, OSError) as error:
            found.faults.append(Fault("damaged", str(path), one_line(str(error))))
            continue
        found.lists += [folder] if folder not in found.lists else []
        found.faults += [Fault("failed", name, one_line(what), _named(folder, name, cells)) for name, what in failed]
        there = [folder.parent / name for name in names]
        runs += [run for run in there if is_run(run)]
        gone = [run.name for run in there if not is_run(run)]
        found.faults += [
            Fault("missing", name, f"{path} lists it, but there is no such run", cells.get(name, "")) for name in gone
        ]
    return runs


def _named(folder: Path, name: str, cells: Mapping[str, str]) -> str:
    return cells.get(name) or cell_of(folder.parent / name)


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
