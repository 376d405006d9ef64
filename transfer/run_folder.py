"""A run's folder: its name says what ran, its lock keeps a second run out, its files are whole or absent."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from checkpoints.errors import InputError
from transfer.files import write_json, write_whole
from transfer.recipe import Recipe


def folder_name(recipe: Recipe, weights: str) -> str:
    """Return ``<recipe>-<backbone>-<method>-<sparsity>-s<seed>-<hash>`` of a resolved recipe.

    ``weights`` is the backbone's digest; the hash covers it and what decides the result, and nothing of the machine.
    """
    pruning = f"{recipe.prune.method}-{recipe.prune.sparsity:g}" if recipe.prune.sparsity else "dense"
    content = json.dumps([recipe.decisive(), weights], sort_keys=True)
    short = hashlib.sha256(content.encode()).hexdigest()[:8]
    slugs = [_slug(recipe.name), _slug(recipe.backbone), pruning, f"s{recipe.seed}", short]
    return "-".join(slugs)


class RunFolder:
    """The files of one run under ``out``."""

    def __init__(self, out: Path, recipe: Recipe, weights: str):
        self.path = out / folder_name(recipe, weights)
        self._recipe = recipe

    @contextmanager
    def opened(self) -> Iterator["RunFolder"]:
        """Make the folder and hold its lock.

        Raises:
            InputError: it cannot be made, another process is running there, or another recipe made it.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            self._take(lock)
            yield self
        finally:
            lock.release()

    def _take(self, lock: BaseFileLock) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            for stale in self.path.rglob(".*.tmp"):  # of a process that was killed while it wrote
                stale.unlink(missing_ok=True)
            self._claim()
        except Timeout as error:
            hint = f"; if none is, remove {lock.lock_file}" if isinstance(lock, SoftFileLock) else ""
            raise InputError(
                f"another process is running in {self.path}; wait for it, or choose another --out{hint}"
            ) from error
        except NotImplementedError as error:
            raise InputError(f"the file system of {self.path} has no locks; choose an --out on another") from error
        except OSError as error:
            raise InputError(
                f"cannot write to {error.filename or self.path} ({error.strerror}); choose another --out"
            ) from error

    def _claim(self) -> None:
        found = read_json(self.file("recipe.json")) if self.file("recipe.json").exists() else None
        if found is not None and not self._same(found):
            raise InputError(f"{self.path} was made by another recipe; choose another --out or remove the folder")
        if found != self._recipe.to_dict():
            self.write_json("recipe.json", self._recipe.to_dict())

    def _same(self, content: Any) -> bool:
        try:
            return Recipe.from_dict(content).decisive() == self._recipe.decisive()
        except InputError:
            return False

    def file(self, name: str) -> Path:
        """Return the path of a file of the run."""
        return self.path / name

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file."""
        write_json(self.file(name), content)

    def write_lines(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one JSON object a line."""
        lines = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows)
        write_whole(self.file(name), lines)

    def write_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows of equal keys as CSV."""
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        write_whole(self.file(name), text.getvalue())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it is absent or no JSON.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"there is no file {path}; is {path.parent} the folder of a run?") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a plain ValueError
        raise InputError(f"{path} is not JSON ({error}); remove the folder and run again") from error


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace("/", "-")).strip("-.")[-40:]
