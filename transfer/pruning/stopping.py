"""Stop pruning before the last round, once the final choice of weights no longer moves.

Every round's scores also say which weights would stay if this round were the last. If those are the same as in the
round before, or nearly, the remaining rounds are skipped and that choice is final: the exact number is kept.
"""

from collections.abc import Mapping

from torch import Tensor

from checkpoints.errors import InputError


def check(overlap: float | None) -> None:
    """Check the overlap at which to stop.

    Raises:
        InputError: it is not in (0, 1].
    """
    if overlap is not None and not 0 < overlap <= 1:  # also true for nan
        raise InputError(
            f"stop_overlap is {overlap}; it is the overlap (Jaccard) at which rounds stop, above 0 and at most 1, such "
            "as 0.999"
        )


class Stopping:
    """Compares the final choice of each round with that of the round before."""

    def __init__(self, overlap: float):
        self._overlap = overlap
        self._before: Mapping[str, Tensor] | None = None

    def reached(self, final: Mapping[str, Tensor]) -> bool:
        """Return whether the masks that a round would end with overlap enough with those of the previous call."""
        before, self._before = self._before, final
        return before is not None and _jaccard(before, final) >= self._overlap


def _jaccard(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    both = sum(int((mask & b[name]).count_nonzero()) for name, mask in a.items())
    either = sum(int((mask | b[name]).count_nonzero()) for name, mask in a.items())
    return both / either if either else 1.0
