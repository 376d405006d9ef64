"""Registry of the pruning methods: one file per family, one function ``(problem, **options)`` per method.

See docs/methods.md.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from checkpoints.errors import InputError, near
from transfer.pruning.statistics import Statistics

Score = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Method:
    """Static properties of a method."""

    score: str | Score
    """The function, or the module of this package that holds it, as ``score`` or under the name after a colon."""
    rounds: int = 1
    """Number of rounds in its paper."""
    labels: bool = False
    """Whether it uses the targets."""
    paths: bool = False
    """Whether it needs a network that is a sum over paths (no softmax attention, no LayerNorm)."""
    statistics: Statistics | None = "batch"
    """Default BatchNorm statistics for its scores; None: it does not run the network."""
    version: str = ""
    """For a registered method: distinguishes what its source does not show."""


_METHODS = {  # by user-facing name
    "random": Method("baselines:random", statistics=None),
    "magnitude": Method("baselines:magnitude", statistics=None),
    "snip": Method("snip", labels=True),
    "grasp": Method("grasp", labels=True),
    "synflow": Method("synflow", rounds=100, paths=True),
    "synflow-dist": Method("synflow:dist", rounds=100, paths=True),
    "synflow-l2": Method("synflow:l2", rounds=100, paths=True),
    "synflow-l2-dist": Method("synflow:l2_dist", rounds=100, paths=True),
    "logsynflow": Method("synflow:log", rounds=100, paths=True),
    "ntk-sap": Method("ntk_sap", rounds=100),
    "px": Method("px", rounds=100, paths=True),
    "px-gated": Method("px:gated", rounds=100, paths=True),
    "px-trace": Method("px:trace", rounds=100, paths=True),
    "px-released": Method("px_released", rounds=100, paths=True),
    "ntk-trace": Method("ntk_trace", rounds=20),
    "ntk-balanced": Method("ntk_trace:balanced", rounds=20),
    "jacobian": Method("ntk_trace"),
    "fisher": Method("fisher", labels=True),
    "fts": Method("fisher:taylor", labels=True),
    "hutchinson": Method("hutchinson", labels=True),
    "hts": Method("hutchinson:taylor", labels=True),
}


def methods() -> list[str]:
    """Return the names that ``score`` and ``prune`` accept."""
    return list(_METHODS)


def register(
    name: str, score: Score, *, rounds: int = 1, labels: bool = False, paths: bool = False,
    statistics: Statistics | None = "batch", version: str = "",
) -> None:  # fmt: skip
    """Register a score function by name, for ``score``, ``prune`` and recipes; see docs/adding_a_method.md.

    Args:
        name: new, user-facing name.
        score: ``score(problem, **options)``, see :class:`transfer.pruning.problem.Problem`; returns one score per
            weight.
        rounds: default number of rounds.
        labels: whether it uses the targets.
        paths: whether it needs a network that is a sum over paths.
        statistics: default BatchNorm statistics; None if it does not run the network.
        version: distinguishes what the source of the function does not show, such as a file that it reads; a run is
            tied to it and to the file that defines the function (:func:`source`).

    Raises:
        InputError: the name is taken by another function.
    """
    if name in _METHODS and _METHODS[name].score is not score:
        raise InputError(f"there is a method {name!r} already; choose another name")
    _METHODS[name] = Method(score, rounds, labels, paths, statistics, version)


def about(method: str) -> Method:
    """Return the static properties of a method.

    Raises:
        InputError: the method is unknown.
    """
    if method not in _METHODS:
        raise InputError(f"unknown method {method!r}; {near(method, methods())}")
    return _METHODS[method]


def source(method: str) -> str | None:
    """Return a digest of a registered method: its version and the file that defines its function.

    For a function without a file (typed at a prompt), its own source or bytecode. None for the package's own methods.

    Raises:
        InputError: the method is unknown, or has neither source nor version.
    """
    known = about(method)
    if isinstance(known.score, str):
        return None
    written = _written(known.score)
    if not written and not known.version:
        raise InputError(
            f"the source of method {method!r} cannot be found; give register(…, version=…), changed with it"
        )
    return hashlib.sha256(f"{known.version}\0{written}".encode(errors="surrogateescape")).hexdigest()


def _written(score: Score) -> str:
    function = inspect.unwrap(getattr(score, "func", score))  # functools.partial
    function = function if inspect.isroutine(function) else type(function)
    try:
        file = inspect.getsourcefile(function)
        return Path(file).read_text(errors="replace") if file and Path(file).is_file() else inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return f"{code.co_code!r}{code.co_consts!r}{code.co_names!r}" if code else ""


def guide(method: str, allocation: str) -> str:
    """Return the method that prunes in rounds: ``allocation`` if it is a method, else ``method``."""
    return allocation if allocation in _METHODS else method


def statistics(method: str, allocation: str = "global") -> Statistics | None:
    """Return the default BatchNorm statistics of a run: those of the method, else those of its guide.

    None if neither runs the network.
    """
    known = (_METHODS[name].statistics for name in (method, allocation) if name in _METHODS)
    return next(filter(None, known), None)


def find(method: str) -> Score:
    """Return the score function of a method.

    Raises:
        InputError: the method is unknown.
    """
    score = about(method).score
    if not isinstance(score, str):
        return score
    module, _, name = score.partition(":")
    found: Score = getattr(import_module(f"{__name__}.{module}"), name or "score")
    return found


def options(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a method's options with their defaults: the keyword-only arguments of its function."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_options(method: str, function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Reject options that the method does not have, and values of the wrong type.

    Raises:
        InputError: an option or value is invalid; states what is allowed.
    """
    known = options(function)
    hints = get_type_hints(function)
    for name, value in given.items():
        if name not in known:
            allowed = f"it takes {', '.join(known)}" if known else "it takes none"
            raise InputError(f"method {method!r} has no option {name!r}; {allowed}")
        kind = hints.get(name, Any)
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise InputError(f"option {name} of {method!r} is {value!r}; allowed: {', '.join(get_args(kind))}")
        elif kind in (int, float, bool) and type(value) is not kind and not (kind is float and type(value) is int):
            raise InputError(f"option {name} of {method!r} is {value!r}; it should be {kind.__name__}")
