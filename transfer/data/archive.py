"""A folder or a zip of it, read the same way, without unpacking."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

from checkpoints.errors import InputError


class Archive:
    """The files under ``path``, a folder or a .zip that holds that folder; names are relative, with slashes.

    Raises InputError for a truncated zip and for files that are absent or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.suffix == ".zip":
            try:
                self._zip = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                raise InputError(f"{path}: not a whole zip file ({error}); get it again") from None

    def names(self) -> list[str]:
        """Return the name of each file, sorted; in a zip without the outermost folder."""
        if self._zip is not None:
            inner = (name.partition("/")[2] for name in self._zip.namelist())
            return sorted(name for name in inner if name and not name.endswith("/"))
        found = (Path(top, name) for top, _, names in os.walk(self.path) for name in names)
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        try:
            if self._zip is None:
                return (self.path / name).read_bytes()
            return self._zip.read(f"{self.path.stem}/{name}")
        except (OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{self.path}: {name} cannot be read ({error}); get the data again") from None
