"""Sparsity schedules: how many weights are kept after round r of R."""

import math

from checkpoints.errors import InputError, near

SCHEDULES = ("exponential", "linear", "cubic")


def sparsity_after(round_: int, rounds: int, final: float, schedule: str = "exponential") -> float:
    """Return the sparsity after round ``round_`` (1 … ``rounds``), in [0, 1); exactly ``final`` after the last.

    Exponential: every round multiplies the density by the same factor, giving ``(1 − final) ** (round_ / rounds)``
    (Tanaka 2020, algorithm 1). Linear: every round removes the same number of weights. Cubic: the density left to
    remove falls with the cube of the rounds left, ``final · (1 − (1 − round_ / rounds)³)`` (Zhu & Gupta 2018, eq. 1).
    """
    if round_ == rounds:
        return final
    if schedule == "exponential":
        return 1 - (1 - final) ** (round_ / rounds)
    if schedule == "cubic":
        return final * (1 - (1 - round_ / rounds) ** 3)
    return final * round_ / rounds


def kept(total: int, sparsity: float) -> int:
    """Return how many of ``total`` weights are kept: ``total − floor(sparsity · total + 0.5)``."""
    return total - math.floor(sparsity * total + 0.5)


def check(total: int | None, sparsity: float, rounds: int, schedule: str) -> None:
    """Validate a schedule; ``total=None`` if the number of weights is not known yet.

    Raises:
        InputError: sparsity outside [0, 1), fewer than one weight left, rounds < 1, or an unknown schedule.
    """
    if not 0 <= sparsity < 1:  # also false for nan
        raise InputError(f"sparsity is {sparsity}; it is the fraction removed, in [0, 1): for 90 % give 0.9")
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; give 1 or more")
    if schedule not in SCHEDULES:
        raise InputError(f"unknown schedule {schedule!r}; {near(schedule, list(SCHEDULES))}")
    if total is not None and kept(total, sparsity) < 1:
        raise InputError(f"sparsity {sparsity} leaves none of {total} weights; give at most {1 - 1 / total:.9g}")
