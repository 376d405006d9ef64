"""Options of gmp (gradual magnitude pruning), which prunes while the model trains: :mod:`transfer.training.gmp`."""

from collections.abc import Mapping
from typing import Any

from checkpoints.errors import InputError
from transfer.pruning.saliency import check_options, methods

ROUNDS = 100  # by default, the number of times that the masks tighten
SCHEDULE = "cubic"  # by default (Zhu & Gupta 2018, eq. 1)


def check(options: Mapping[str, Any], allocation: str, epochs: int, recalibrate: bool) -> None:
    """Validate the settings of gmp.

    Raises:
        InputError: a setting is invalid; states what is allowed.
    """
    check_options("gmp", window, options)
    begin, end = window(**options)
    if not 0 <= begin < end <= 1:  # also false for nan
        raise InputError(
            f"options begin and end of 'gmp' are {begin:g} and {end:g}; give fractions of the training with "
            "0 <= begin < end <= 1"
        )
    if allocation in methods():
        raise InputError(f"prune.allocation is {allocation!r}; gmp takes global, uniform or erk")
    if epochs < 1:
        raise InputError("gmp prunes while the model trains; give train.epochs of 1 or more")
    if recalibrate:
        raise InputError("prune.recalibrate is set, but training goes on after each pruning of gmp; leave it out")


def window(*, begin: float = 0.0, end: float = 0.75) -> tuple[float, float]:
    """Return the options of gmp.

    Args:
        begin: fraction of the training's steps after which pruning begins, in [0, 1).
        end: fraction after which the masks are final, above ``begin``, at most 1.
    """
    return begin, end
