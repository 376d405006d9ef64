"""Run folders: named by their settings, locked against a second process, with atomically written files."""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from checkpoints.errors import InputError
from checkpoints.files import read_json, write_json, write_whole
from transfer.data import identity
from transfer.recipe import Recipe
from transfer.report.tables import csv_text
from transfer.training.checkpoint import State


@dataclass(frozen=True)
class Origin:
    """Inputs besides the recipe that affect a run's results; independent of the machine."""

    backbone: str
    """Digest of its weights."""
    data: Mapping[str, Any]
    """From :func:`transfer.data.identity.fingerprint`."""
    methods: Mapping[str, str]
    """Source digest of each user-registered method that the pruning uses."""

    def difference(self, was: Mapping[str, Any]) -> str:
        """Describe how the content of an ``origin.json`` differs from this origin; empty if it does not."""
        found = [identity.difference(was["data"], self.data)]
        found += ["the backbone's weights are others"] * (was["backbone"] != self.backbone)
        found += [
            f"the source of method {name} changed"
            for name in self.methods
            if was["methods"].get(name) != self.methods[name]
        ]
        return "; ".join(filter(None, found))


def folder_name(recipe: Recipe, origin: Origin) -> str:
    """Return ``<recipe>-<backbone>-<method>-<sparsity>-s<seed>-<hash>`` for a resolved recipe.

    The hash covers all settings and inputs that affect results, and nothing of the machine.
    """
    content = json.dumps([recipe.decisive(), asdict(origin)], sort_keys=True)
    return f"{name_without_hash(recipe)}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def name_without_hash(recipe: Recipe) -> str:
    """Return the part of :func:`folder_name` that needs neither backbone nor data."""
    prune = recipe.prune
    pruning = f"{prune.method}-{prune.sparsity:g}" if prune.sparsity else prune.method if not prune.dense else "dense"
    return "-".join([slug(recipe.name), slug(recipe.backbone), pruning, f"s{recipe.seed}"])


class Held(InputError):
    """Another process uses a folder; the message begins with :data:`RUNNING`."""


RUNNING = "another process is running in"


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Create a folder and hold its lock; wait ``patience`` seconds for a process that still holds it, and say so.

    Raises:
        Held: another process is using it.
        InputError: it cannot be created or locked.
    """
    lock = FileLock(folder / ".lock", timeout=0.0)
    try:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _acquire(lock, folder, patience)
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, folder: Path, patience: float) -> None:
    try:
        with suppress(Timeout):
            lock.acquire()
            return
        if patience:
            warnings.warn(f"{RUNNING} {folder}; waiting up to {patience:g} s for it", stacklevel=2)
        lock.acquire(timeout=patience)
    except Timeout as error:
        hint = f"; if none is, remove {lock.lock_file}" if _has_text(Path(lock.lock_file)) else ""
        raise Held(f"{RUNNING} {folder}; wait for it, or choose another --out{hint}") from error
    except NotImplementedError as error:
        raise InputError(f"the file system of {folder} has no locks; choose an --out on another") from error


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise InputError(f"cannot write to {where} ({error.strerror}); choose another --out") from error


class RunFolder:
    """The files of one run, in a folder under ``out``."""

    def __init__(self, out: Path, recipe: Recipe, origin: Origin):
        self.path = out / folder_name(recipe, origin)
        self._recipe, self._origin = recipe, origin

    @contextmanager
    def opened(self, patience: float = 0.0) -> Iterator["RunFolder"]:
        """Create the folder and hold its lock; wait ``patience`` seconds for a process that still holds it.

        Raises:
            InputError: it cannot be created, another process is using it (:class:`Held`), or it holds a run of another
                recipe, of other data or of other weights.
        """
        with locked(self.path, patience):
            with _writing(self.path):
                for stale in self.path.rglob(".*.tmp"):  # left by a process that was killed while writing
                    stale.unlink(missing_ok=True)
                self._claim()
            yield self

    def _claim(self) -> None:
        found = read_json(self.file("recipe.json")) if self.file("recipe.json").exists() else None
        if found is not None and not self._same(found):
            raise InputError(f"{self.path} was made by another recipe; choose another --out or remove the folder")
        if self.file("origin.json").exists():
            other = self._other(read_json(self.file("origin.json")))
            if other:
                raise InputError(f"{self.path} holds a run of other data or weights ({other}); choose another --out")
        else:
            self.write_json("origin.json", asdict(self._origin))
        if found != self._recipe.to_dict():
            self.write_json("recipe.json", self._recipe.to_dict())

    def _other(self, was: Any) -> str:
        try:
            return self._origin.difference(was)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.file('origin.json')} is damaged ({error}); choose another --out or remove the folder"
            ) from error

    def _same(self, content: Any) -> bool:
        try:
            return Recipe.from_dict(content).decisive() == self._recipe.decisive()
        except InputError:
            return False

    def finished(self) -> datetime | None:
        """Return when the run finished; None if it is unfinished or its weights are missing."""
        result = self.file("result.json")
        if not result.exists() or not self.file("model.safetensors").exists():
            return None
        return datetime.fromtimestamp(result.stat().st_mtime)

    def state(self) -> str:
        """Describe what the folder holds: a finished run, an unfinished one, or nothing."""
        when = self.finished()
        if when is not None:
            return told(when, self.path)
        return "begun: it would go on" if self.path.exists() else "not made: dry run"

    def clear(self) -> None:
        """Remove the files that only an unfinished run needs."""
        State(self.path).clear()
        for part in self.file("imp").glob("*"):
            State(part).clear()
            (part / "model.safetensors").unlink(missing_ok=True)

    def file(self, name: str) -> Path:
        """Return the path of a file of the run."""
        return self.path / name

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file."""
        write_json(self.file(name), content)

    def write_lines(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one JSON object per line."""
        lines = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows)
        write_whole(self.file(name), lines)

    def write_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows with the same keys as CSV."""
        write_whole(self.file(name), csv_text(rows))


def told(finished: datetime, folder: Path) -> str:
    """Return a message that a run has finished and how to run it again."""
    return f"finished on {finished:%Y-%m-%d at %H:%M}; remove {folder} to run it again"


def slug(text: str) -> str:
    """Return a text as a part of a folder's name."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace("/", "-")).strip("-.")[-40:]


def _has_text(lock: Path) -> bool:
    """Return whether a lock's file says host and process, as filelock's do on file systems without flock."""
    try:
        return lock.stat().st_size > 0
    except OSError:  # given back meanwhile
        return False
