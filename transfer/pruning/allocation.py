"""Sparsity allocation: one global threshold, or a number of kept weights per layer.

* ``global``: no layer shares; the largest scores of the whole network are kept.
* ``uniform``: every layer gets the same density.
* ``erk``: a layer's share is proportional to the sum of its weight's dimensions, inputs + outputs + kernel
  (Erdős-Rényi-kernel, Evci 2020), so that thin layers stay denser.
* a method's name: its masks set the number of kept weights per layer.

A share never exceeds the layer's size; the excess of a full layer is distributed over the others in the same
proportion. Shares are rounded down, and the remaining weights go one each to the largest remainders, ties to the
earlier layer.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from checkpoints.errors import InputError, near
from transfer.pruning.patterns.constraint import Constraint, Selection
from transfer.pruning.saliency import methods
from transfer.pruning.selection import select

RULES: dict[str, Callable[[Tensor], int]] = {"uniform": lambda mask: mask.numel(), "erk": lambda mask: sum(mask.shape)}


def check(allocation: str) -> None:
    """Reject an unknown allocation.

    Raises:
        InputError: the allocation is unknown; lists the known ones.
    """
    known = ["global", *RULES, *methods()]
    if allocation not in known:
        raise InputError(f"unknown allocation {allocation!r}; {near(allocation, known)}")


def choose(
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    keep: int,
    allocation: str,
    constraint: Constraint | None = None,
) -> dict[str, Tensor]:
    """Keep ``keep`` of the weights that the masks still keep: the largest scores within each layer's share.

    Args:
        scores: float64 scores by parameter name.
        masks: True = kept so far.
        keep: number kept in total.
        allocation: "global", "uniform" or "erk".
        constraint: a pattern of the kept weights; None = any.
    """
    free = select if allocation == "global" else _sharing({n: RULES[allocation](mask) for n, mask in masks.items()})
    return constraint.choose(scores, masks, keep, free) if constraint else free(scores, masks, keep)


def _sharing(wanted: Mapping[str, int]) -> Selection:
    """Return the selection that divides what is kept over the layers in proportion to ``wanted``."""

    def free(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], keep: int) -> dict[str, Tensor]:
        return choose_shares(scores, masks, spread(keep, wanted, {n: int(mask.sum()) for n, mask in masks.items()}))

    return free


def choose_shares(
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    shares: Mapping[str, int],
    constraint: Constraint | None = None,
) -> dict[str, Tensor]:
    """Keep the given number of weights per layer: those with the largest scores, within a pattern if there is one."""
    return {
        name: choose({name: s}, {name: masks[name]}, shares[name], "global", constraint)[name]
        for name, s in scores.items()
    }


def spread(keep: int, wanted: Mapping[str, int], room: Mapping[str, int]) -> dict[str, int]:
    """Divide ``keep`` in proportion to ``wanted``, no share above its ``room``; exact integer arithmetic.

    ``keep`` is at most the sum of ``room``, and the ``wanted`` numbers are positive.
    """
    open_, shares, left = set(wanted), dict.fromkeys(wanted, 0), keep
    while True:
        total = sum(wanted[name] for name in open_)
        full = {name for name in open_ if left * wanted[name] >= room[name] * total}
        if not full:
            break
        for name in full:
            shares[name] = room[name]
            left -= room[name]
        open_ -= full
    rest = left
    for name in open_:
        shares[name] = left * wanted[name] // total
        rest -= shares[name]
    order = sorted((name for name in wanted if name in open_), key=lambda name: -(left * wanted[name] % total))
    for name in order[:rest]:
        shares[name] += 1
    return shares
