"""Downloads through torchvision: one process at a time, and a one-line error without a network."""

from __future__ import annotations

import http.client
import pickle
import shutil
import socket
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar
from urllib.error import URLError

from filelock import FileLock
from rich.console import Console
from rich.progress import track

from checkpoints.download import may_download
from checkpoints.errors import InputError

PATIENCE = 30.0  # seconds without a response before a download fails
DAMAGED = (RuntimeError, EOFError, pickle.UnpicklingError)  # torchvision's copies of some data sets are pickles
FAILURES = (OSError, *DAMAGED, http.client.HTTPException, tarfile.TarError)
T = TypeVar("T")


def downloaded(build: Callable[[bool], T], *, name: str, root: Path, remedy: str) -> T:
    """Return ``build(False)`` if the files are present, else ``build(True)``, which downloads them to ``root``.

    ``build(download)`` creates a torchvision data set, which checks MD5 sums and raises RuntimeError.

    Raises:
        InputError: the download fails; gives the reason and the ``remedy``.
        NotReady: downloads are not allowed.
    """
    try:
        return build(False)
    except DAMAGED:
        pass  # absent or damaged
    except OSError as error:
        raise InputError(f"{name}: cannot read {root} ({_line(error)}); {remedy}") from None
    may_download(name, remedy)
    new = not root.exists()
    lock = root / f".{name}.lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(lock), _impatient(), _contained(), redirect_stdout(sys.stderr):
            return build(True)
    except FAILURES as error:
        with suppress(OSError):  # clean up after the failure
            lock.unlink(missing_ok=True)
            if new:
                root.rmdir()
        raise InputError(
            f"{name}: absent from {root} or damaged, and cannot be downloaded ({_line(error)}); {remedy}"
        ) from None


@contextmanager
def _impatient() -> Iterator[None]:
    """Set a timeout for connections: torchvision has none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _contained() -> Iterator[None]:
    """Prevent tars from writing outside their folder: older torchvision releases unpack without a filter."""
    if not hasattr(tarfile, "data_filter"):  # Python before 3.10.12
        yield
        return
    before = tarfile.TarFile.extraction_filter
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


def _line(error: BaseException) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    return " ".join(str(reason).split())[:160] or type(error).__name__


def unpack(archive: Path, inner: str, target: Path) -> None:
    """Unpack the folder ``inner`` of an uncompressed tar as ``target``, which must not exist.

    Members are written one by one beside ``target``, which is renamed into place when complete; owners, permissions and
    times are not restored. Nothing is left behind on failure.

    Raises:
        InputError: the tar is damaged, has no such folder, holds anything but files and folders, names a place outside,
            or declares more bytes than it has (as sparse members do).
    """
    aside = target.with_name(f".{target.name}.unpacking")
    new = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)  # left by a killed process
    try:
        with tarfile.open(archive, "r:") as tar:
            _write(archive, tar, aside)
        if not (aside / inner).is_dir():
            raise InputError(f"{archive}: has no folder {inner}; get the original file")
        (aside / inner).rename(target)
    except (tarfile.TarError, EOFError, FileExistsError, NotADirectoryError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{archive}: not a whole tar ({reason}); delete it and get it again") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if new and not target.exists():
            target.parent.rmdir()


def _write(archive: Path, tar: tarfile.TarFile, folder: Path) -> None:
    for name, content in members(archive, tar, archive.stat().st_size):
        place = folder / name
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with content, place.open("xb") as file:
            shutil.copyfileobj(content, file)


def members(archive: Path, tar: tarfile.TarFile, most: int) -> Iterator[tuple[Path, IO[bytes] | None]]:
    """Yield the relative path and the content of each member, None for a folder; shows progress.

    Raises:
        InputError: a member names a place outside, is neither file nor folder, or declares more bytes than are left of
            ``most``, the capacity of the tar.
    """
    for member in _shown(tar, archive.name):
        most -= member.size
        if most < 0 or member.size < 0:
            raise InputError(f"{archive}: {member.name} declares more bytes than the tar holds; get the original file")
        place = _inside(archive, member.name)
        content = tar.extractfile(member) if member.isreg() else None
        if content is None and not member.isdir():
            raise InputError(f"{archive}: {member.name} is a link or device, want files only; get the original file")
        yield place, content


def _inside(archive: Path, name: str) -> Path:
    """Return a member's name as a relative path.

    Raises:
        InputError: it leads out of the folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or set(name) & set("\\:\0"):
        raise InputError(f"{archive}: {name!r} leads out of the folder; get the original file")
    return Path(*path.parts)


def _shown(tar: tarfile.TarFile, name: str) -> Iterable[tarfile.TarInfo]:
    """Return the members with a progress bar on stderr, silent if that is not a terminal."""
    return track(tar, f"unpacking {name}", None, console=Console(stderr=True), disable=not sys.stderr.isatty())
