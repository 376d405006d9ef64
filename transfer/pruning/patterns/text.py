"""Read a pattern from its text: ``2:4``, ``4x4`` or ``none``."""

import re
from dataclasses import dataclass

from checkpoints.errors import InputError

NONE = "none"
_GROUPS, _BLOCKS = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})"), re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})")
_UNKNOWN_TOTAL = 1e-6  # how far a sparsity may be below the least one while the number of weights is not known


@dataclass(frozen=True)
class Groups:
    """``N:M``: of M consecutive input channels at most N weights are kept."""

    most: int
    """N, from 1 to M − 1."""
    inputs: int
    """M."""
    outputs: int = 1

    def __str__(self) -> str:
        return f"{self.most}:{self.inputs}"


@dataclass(frozen=True)
class Blocks:
    """``RxC``: R output channels × C input channels are kept or removed together."""

    outputs: int
    """R, at least 1."""
    inputs: int
    """C, at least 1, and R · C at least 2."""

    def __str__(self) -> str:
        return f"{self.outputs}x{self.inputs}"


def parse(text: str) -> Groups | Blocks | None:
    """Return the pattern of this text; None for ``none``.

    Raises:
        InputError: the text is no pattern.
    """
    if text == NONE:
        return None
    if found := _GROUPS.fullmatch(str(text)):
        most, inputs = map(int, found.groups())
        if most < inputs:
            return Groups(most, inputs)
    if (found := _BLOCKS.fullmatch(str(text))) and found.groups() != ("1", "1"):
        outputs, inputs = map(int, found.groups())
        return Blocks(outputs, inputs)
    raise InputError(
        f"unknown pattern {text!r:.100}; give N:M with N below M, such as 2:4 (at most 2 of 4 consecutive input "
        f"channels), blocks of outputs x inputs, such as 4x4, or {NONE}"
    )


def check(text: str, sparsity: float) -> None:
    """Reject a pattern that is unknown or needs a higher sparsity.

    Raises:
        InputError: one line with what is allowed.
    """
    pattern = parse(text)
    if isinstance(pattern, Groups) and 1 - sparsity > pattern.most / pattern.inputs + _UNKNOWN_TOTAL:
        raise too_low(pattern, sparsity)


def too_low(pattern: Groups, sparsity: float) -> InputError:
    """Return the error of a sparsity that leaves more weights than the groups may keep."""
    least = -(-(pattern.inputs - pattern.most) * 10**6 // pattern.inputs) / 10**6
    return InputError(
        f"sparsity is {sparsity:g}; pattern {pattern} keeps at most {pattern.most} of {pattern.inputs} weights: give a "
        f"sparsity of at least {least:g}, or another pattern"
    )
