"""Files that torchvision downloads: one process at a time, and one clear line when there is no network."""

from __future__ import annotations

import http.client
import pickle
import socket
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError

from filelock import FileLock

from checkpoints.download import may_download
from checkpoints.errors import InputError

PATIENCE = 30.0  # seconds without an answer before a download counts as failed
DAMAGED = (RuntimeError, EOFError, pickle.UnpicklingError)  # torchvision's older copies of a data set are pickles
FAILURES = (OSError, *DAMAGED, http.client.HTTPException, tarfile.TarError)
T = TypeVar("T")


def downloaded(build: Callable[[bool], T], *, name: str, root: Path, remedy: str) -> T:
    """Return ``build(False)`` if the files are there, else ``build(True)``, which downloads them to ``root``.

    ``build(download)`` makes a torchvision data set, which checks md5 sums and raises RuntimeError. Raises
    InputError with the reason and the ``remedy`` when the download fails, NotReady where none may be tried.
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
    """Let connections time out: torchvision sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _contained() -> Iterator[None]:
    """Let no tar write outside its folder: older releases of torchvision unpack without a filter of their own."""
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
