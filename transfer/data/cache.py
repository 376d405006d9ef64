"""Cache folder for reproducible files: the sample data set, and which images were found readable."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return $TRANSFER_HOME, or the platform's cache folder for this project."""
    chosen = os.environ.get("TRANSFER_HOME")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("px-transfer")
