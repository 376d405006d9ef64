"""Files that torchvision downloads: one process at a time, and one clear line when there is no network."""

from __future__ import annotations

import http.client
import pickle
import shutil
import socket
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError

from filelock import FileLock
from rich.console import Console
from rich.progress import track

from checkpoints.download import may_download
from checkpoints.errors import InputError

PATIENCE = 30.0  # seconds without an answer before a download counts as failed
DAMAGED = (RuntimeError, EOFError, pickle.UnpicklingError)  # torchvision's older copies of a data set are pickles
FAILURES = (OSError, *DAMAGED, http.client.HTTPException, tarfile.TarError)
T = TypeVar("T")


def downloaded(build: Callable[[bool], T], *, name: str, root: Path, remedy: str) -> T:
    """Return ``build(False)`` if the files are there, else ``build(True)``, which downloads them to ``root``.

    ``build(download)`` makes a torchvision data set, which checks md5 sums and raises RuntimeError.

    Raises:
        InputError: the download fails; the line has the reason and the ``remedy``.
        NotReady: no download may be tried.
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
        with suppress(OSError):  # leave no trace of what did not work
            lock.unlink(missing_ok=True)
            if new:
                root.rmdir()
        raise InputError(
            f"{name}: absent from {root} or damaged, and cannot be downloaded ({_line(error)}); {remedy}"
        ) from None


@contextmanager
def _impatient() -> Iterator[None]:
    """Set a timeout for connections: torchvision sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _contained() -> Iterator[None]:
    """Set tarfile's data filter: torchvision unpacks without one, and Python uses it by default from 3.14 on."""
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
    """Unpack the folder ``inner`` of an uncompressed tar and name it ``target``, which is absent.

    Everything is unpacked beside ``target`` first. Owners, permissions and times are not taken over. After an error
    nothing stays behind.

    Raises:
        InputError: the tar is damaged, has no folder ``inner`` or the same file twice, or :func:`members` refuses it.
    """
    aside = target.with_name(f".{target.name}.unpacking")
    new = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in members(archive, tar, archive.stat().st_size):
                if member.isreg() and (aside / member.name).exists():
                    raise tarfile.ReadError(f"{member.name} is in it twice")
                tar.extract(member, aside, set_attrs=False, filter="data")
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


def members(archive: Path, tar: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar that are safe to read and to unpack; show the progress.

    Raises:
        InputError: a member is neither file nor folder, has a path outside, or declares more bytes than are left of
            ``most``, which the tar can hold; or this Python's tarfile has no filters.
    """
    if not hasattr(tarfile, "data_filter"):
        raise InputError(f"{archive}: this Python unpacks no tar safely; use Python 3.10.12, 3.11.4 or later")
    for member in _shown(tar, archive.name):
        most -= member.size
        if most < 0 or member.size < 0:
            raise InputError(f"{archive}: {member.name} declares more bytes than the tar holds; get the original file")
        if not (member.isreg() or member.isdir()):
            raise InputError(f"{archive}: {member.name} is a link or device, want files only; get the original file")
        try:
            name = tarfile.data_filter(member, str(archive)).name  # relative to a folder that holds no links
        except (tarfile.FilterError, ValueError):  # ValueError: a NUL in the name
            name = ""
        if name != member.name:
            raise InputError(f"{archive}: {member.name!r} leads out of the folder; get the original file")
        yield member


def _shown(tar: tarfile.TarFile, name: str) -> Iterable[tarfile.TarInfo]:
    """Return the members with a progress bar on stderr, silent where that is no terminal."""
    return track(tar, f"unpacking {name}", None, console=Console(stderr=True), disable=not sys.stderr.isatty())
