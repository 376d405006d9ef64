"""One HTTP download: locked, resumed where it broke, checked before it takes its name."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock

from .errors import InputError

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 5  # connections in a row that may break without having brought anything
PAUSE = 1.0  # seconds between them
BLOCK = 1 << 18


_ONLY_LOOKING = ContextVar("only_looking", default=False)


class Broken(Exception):
    """The connection ended before the file did."""


class NotReady(InputError):
    """A file is not on this machine, or not unpacked or decoded yet. Raised instead of the work that would mend it."""


@contextmanager
def only_looking() -> Iterator[None]:
    """Make downloads and long work that makes files raise NotReady instead, to see what is on this machine."""
    token = _ONLY_LOOKING.set(True)
    try:
        yield
    finally:
        _ONLY_LOOKING.reset(token)


def may_make(state: str) -> None:
    """Call before long work that makes files; ``state`` says what is not ready yet and what a run does about it.

    Raises:
        NotReady: within :func:`only_looking`.
    """
    if _ONLY_LOOKING.get():
        raise NotReady(state)


def may_download(what: str, remedy: str) -> None:
    """Call before a download; ``remedy`` is what the user can do without one.

    Raises:
        NotReady: within :func:`only_looking`.
    """
    may_make(f"{what} is not on this machine; a run downloads it; or {remedy}")


def download(url: str, target: Path, check: Callable[[Path], object]) -> None:
    """Download ``url`` to ``target``. Processes that ask for the same target wait for the first.

    The bytes go to ``target.part``, which a later call continues if the server still has the same file. It is
    renamed to ``target`` once ``check`` accepts it.

    Raises:
        NotReady: within :func:`only_looking`.
        InputError: there is no network, the server refuses, the file never becomes complete, or ``check`` refuses it.
        OSError: the folder cannot be written.
    """
    may_download(url, by_hand(target))
    with FileLock(f"{target}.lock"):
        if target.exists():
            return
        part = Path(f"{target}.part")
        try:
            _complete(url, part)
        except HTTPError as error:
            reason = f"{error.code} {error.reason}"
            raise InputError(f"cannot download {url} ({reason}); try again, or {by_hand(target)}") from None
        except (URLError, Broken) as error:
            reason = str(error.reason if isinstance(error, URLError) else error)
            raise InputError(f"cannot download {url} ({reason}); try again, or {by_hand(target)}") from None
        _accept(part, target, check)


def by_hand(target: Path) -> str:
    """Return what a user without a network can do to have ``target``."""
    return f"download it elsewhere and put it at {target}"


def _accept(part: Path, target: Path, check: Callable[[Path], object]) -> None:
    _tag(part).unlink(missing_ok=True)
    try:
        check(part)
    except InputError:
        part.unlink()
        raise
    os.replace(part, target)


def _tag(part: Path) -> Path:
    """Return the file beside ``part`` that holds the server's name for this version of the content."""
    return Path(f"{part}.tag")


def _complete(url: str, part: Path) -> None:
    """Connect until the whole file is there, as long as connections bring something."""
    idle = 0
    while True:
        before = _size(part)
        try:
            return _receive(url, part)
        except Broken:
            idle = 0 if _size(part) > before else idle + 1
            if idle == ATTEMPTS:
                raise
            time.sleep(PAUSE)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _receive(url: str, part: Path) -> None:
    """Make one connection: append to ``part``, or start it again when the server does not continue it."""
    tag = _tag(part).read_text() if _tag(part).exists() else ""
    start = _size(part) if tag else 0
    headers = {"User-Agent": "px-transfer", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": tag}
    try:
        response = _open(Request(url, headers=headers))
    except HTTPError as error:
        if error.code != 416 or not start:
            raise
        return _beyond_the_end(error, part, start)
    with response:
        start, total = _span(response, start)
        _write(response, part, start, total)
    if total is not None and _size(part) != total:
        raise Broken(f"{_size(part)} of {total} bytes arrived")
    return None


def _open(request: Request) -> Any:
    try:
        return urlopen(request, timeout=TIMEOUT)
    except URLError:  # no network, or an answer that is an error: trying again at once would not help
        raise
    except (OSError, http.client.HTTPException) as error:
        raise Broken(str(error) or type(error).__name__) from None


def _beyond_the_end(error: HTTPError, part: Path, start: int) -> None:
    """Handle status 416, no bytes after ``start``: the file is complete if it ends there, else it is begun again."""
    error.close()
    if error.headers.get("Content-Range") != f"bytes */{start}":
        part.unlink()
        raise Broken("the server's file is shorter than what was kept of it")


def _span(response: Any, start: int) -> tuple[int, int | None]:
    """Return the first byte that the server sends, and how long the whole file is if it says so."""
    if response.status == 206:
        span = response.headers.get("Content-Range", "")
        if not span.startswith(f"bytes {start}-"):
            raise Broken(f"asked for bytes from {start}, got {span!r}")
        total = span.rpartition("/")[2]
        return start, int(total) if total.isdigit() else None
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _write(response: Any, part: Path, start: int, total: int | None) -> None:
    with part.open("ab" if start else "wb") as out, _progress() as progress:
        if not start:
            _tag(part).write_text(_version(response))
        task = progress.add_task(part.name.removesuffix(".part"), total=total, completed=start)
        while block := _read(response):
            out.write(block)
            progress.advance(task, len(block))


def _read(response: Any) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise Broken(str(error) or type(error).__name__) from None


def _version(response: Any) -> str:
    """Return what If-Range accepts: a strong ETag, else the date; empty when the server gives neither."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _progress() -> Any:
    """Return a progress bar on stderr, silent where that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)
