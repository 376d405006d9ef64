"""A folder or a zip of it, read the same way, without unpacking."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path

from checkpoints.errors import InputError

LARGEST = 1 << 24  # bytes of one file in a zip: the longest list has 2.6 MB, an image some kB
DAMAGED = (OSError, LookupError, EOFError, ValueError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile can stop unpacking these at a limit


class Archive:
    """The files under ``path``, a folder or a .zip that holds that folder; names are relative, with slashes.

    Nothing is written, so no name can lead out of a folder.

    Raises:
        InputError: the zip is truncated, or a file is absent, damaged, or larger than LARGEST when unpacked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.suffix == ".zip":
            try:
                self._zip = zipfile.ZipFile(path)
            except DAMAGED as error:
                raise InputError(f"{path}: not a whole zip file ({error}); get it again") from None

    def names(self) -> list[str]:
        """Return the sorted names of all files; in a zip, names are relative to its outermost folder."""
        if self._zip is not None:
            inner = (name.partition("/")[2] for name in self._zip.namelist())
            return sorted(name for name in inner if name and not name.endswith("/"))
        found = (Path(top, name) for top, _, names in os.walk(self.path) for name in names)
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        try:
            if self._zip is None:
                return _content(self.path / name)
            return unpacked(self._zip, self._zip.getinfo(f"{self.path.stem}/{name}"))
        except InputError:
            raise
        except DAMAGED as error:
            raise InputError(f"{self.path}: {name} cannot be read ({error}); get the data again") from None


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # a pipe would wait for ever
        raise OSError("not a file")
    return path.read_bytes()


def unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return a file's content, never more than the size that the zip declares for it.

    Raises:
        InputError: it is larger than LARGEST, or in a compression that zipfile cannot stop unpacking at a limit.
        Exception: one of DAMAGED.
    """
    if entry.file_size > LARGEST or entry.compress_type not in PLAIN:
        raise InputError(
            f"{archive.filename}: {entry.filename} has {entry.file_size} bytes in compression {entry.compress_type}, "
            f"allowed are {LARGEST}, stored or deflated; get the data again"
        )
    with archive.open(entry) as file:
        return file.read(max(entry.file_size, 1))
