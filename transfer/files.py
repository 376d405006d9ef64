"""Write files atomically."""

import json
import os
import threading
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes | str) -> None:
    """Write to a temporary file beside ``path``, flush it to disk, rename it: readers never see a partial file."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal content gives equal bytes."""
    write_whole(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")
