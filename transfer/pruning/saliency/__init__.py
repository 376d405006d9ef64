"""The methods: one file each, one function ``score(problem, **options)`` each; see docs/methods.md."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from checkpoints.errors import InputError, near

_METHODS = {  # the name users write: the module with its score function
    "random": "random",
    "magnitude": "magnitude",
    "snip": "snip",
    "synflow-l2": "synflow_l2",
    "px": "px",
}
ITERATIVE = {"synflow-l2", "px"}  # 100 rounds unless told otherwise; the rest take one


def methods() -> list[str]:
    """Return the names that ``score`` and ``prune`` take."""
    return list(_METHODS)


def find(method: str) -> Callable[..., dict[str, Any]]:
    """Return the score function of a method.

    Raises:
        InputError: no such method.
    """
    if method not in _METHODS:
        raise InputError(f"unknown method {method!r}; {near(method, methods())}")
    return import_module(f"{__name__}.{_METHODS[method]}").score
