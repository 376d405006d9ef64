"""Where files are kept, and how they are written: whole or not at all."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError


def cache_folder(part: str = "") -> Path:
    """Return $TRANSFER_HOME, else the folder ``part`` of this project's folder in the platform's cache folder."""
    chosen = os.environ.get("TRANSFER_HOME")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("px-transfer") / part


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` for a file or a folder; rename it to ``path`` at the end.

    After an exception the temporary file or folder is removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):
            aside.unlink()
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file through a temporary one that is flushed to the disk, so that readers never see a part."""
    data = content.encode() if isinstance(content, str) else content
    with whole(path) as aside, open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def check_folder(out: Path) -> None:
    """Raise InputError if ``out`` is there and is no folder."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder; choose another --out")


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys, so that equal content gives equal bytes; whole or not at all."""
    write_whole(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is absent or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"there is no file {path}; is {path.parent} the folder of a run?") from error
    except (ValueError, RecursionError) as error:  # Python's limit on digits of an int raises a plain ValueError
        raise InputError(f"{path} is not JSON ({error}); remove the folder and run again") from error
