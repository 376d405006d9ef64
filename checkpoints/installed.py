"""Weights that come inside an installed Python package: found without running any of its code."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def find(package: str, file: str) -> Path | None:
    """Return ``file`` in the folder of an installed top-level ``package``; None when either is not there.

    The package is located but not imported, because its code is not trusted.
    """
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((path for path in (Path(folder) / file for folder in folders) if path.is_file()), None)


def remedy(extra: str, target: Path) -> str:
    """Return how to obtain the file: install the ``extra`` of this project, or put it at ``target``."""
    return f"pip install 'px-transfer[{extra}]' (in a clone: pip install -e '.[{extra}]'), or put the file at {target}"
