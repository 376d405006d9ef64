"""Modules of the user's own that register tasks, data sets or pruning methods (``transfer --import MODULE``)."""

import os
import sys
from importlib import import_module

from checkpoints.errors import InputError

imported: list[str] = []
"""What was imported so far, in order; the worker processes of a comparison import it, too."""


def load(name: str) -> None:
    """Import a module by name, from the current folder too.

    Raises:
        InputError: there is no such module.
    """
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())  # as python -m does
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something that the module imports
        raise InputError(
            f"there is no module {name} to import; give its name without .py, from the folder that holds it"
        ) from error
    imported.append(name)
