"""Look at the header of every image before any work begins; the same files are looked at once."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.progress import track

from transfer.data import identity
from transfer.data.cache import cache_folder
from transfer.data.dataset import ImageFiles
from transfer.data.decode import opened_image
from transfer.files import write_whole

READERS = 16  # headers read at once: on a network disk most of the time is waiting


def check_headers(name: str, *splits: ImageFiles) -> None:
    """Read the header of every image in threads, with a progress bar in a terminal; no pixel is decoded.

    Files that were found good before, by name and size, are not read again.

    Raises:
        InputError: the first file, in the order of the splits, that is no readable image.
    """
    good = cache_folder() / "readable" / identity.joined(*(split.digest for split in splits))
    if good.exists():
        return
    paths = list(chain.from_iterable(split.paths for split in splits))
    with ThreadPoolExecutor(READERS) as threads:
        seen = threads.map(_check, paths)
        for _ in track(seen, name, len(paths), console=Console(stderr=True), disable=not sys.stderr.isatty()):
            pass
    with suppress(OSError):  # then they are looked at again
        write_whole(good, "")


def _check(path: Path) -> None:
    with opened_image(path, path):
        pass
