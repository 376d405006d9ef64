"""How many weights each layer keeps, apart from which ones: one threshold for all, or a share for each layer.

* ``global``: no shares, the largest scores of the whole network stay.
* ``uniform``: every layer gets the same density.
* ``erk``: a layer's share is in proportion to the sum of the sides of its weight, inputs + outputs + kernel (the
  Erdős-Rényi-kernel of Evci 2020), so that thin layers stay denser.
* a method's name: its masks say how many weights each layer keeps.

A share never exceeds what its layer has; what a full layer cannot take is spread over the others in the same
proportion. Shares are rounded down, and the weights that are left go one each to the largest remainders, ties to the
earlier layer.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from checkpoints.errors import InputError, near
from transfer.pruning.saliency import methods
from transfer.pruning.selection import select

RULES: dict[str, Callable[[Tensor], int]] = {"uniform": lambda mask: mask.numel(), "erk": lambda mask: sum(mask.shape)}


def check(allocation: str) -> None:
    """Refuse an allocation that does not exist.

    Raises:
        InputError: names the known ones.
    """
    known = ["global", *RULES, *methods()]
    if allocation not in known:
        raise InputError(f"unknown allocation {allocation!r}; {near(allocation, known)}")


def choose(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], keep: int, allocation: str) -> dict[str, Tensor]:
    """Keep ``keep`` of the weights that the masks still keep, the largest scores within each layer's share.

    Args:
        scores: float64 scores by parameter name.
        masks: True = kept so far.
        keep: how many stay in all.
        allocation: "global", "uniform" or "erk".
    """
    if allocation == "global":
        return select(scores, masks, keep)
    wanted = {name: RULES[allocation](mask) for name, mask in masks.items()}
    return choose_shares(scores, masks, spread(keep, wanted, {n: int(mask.sum()) for n, mask in masks.items()}))


def choose_shares(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], shares: Mapping[str, int]
) -> dict[str, Tensor]:
    """Keep the given number of weights of each layer, the largest scores."""
    return {name: select({name: s}, {name: masks[name]}, shares[name])[name] for name, s in scores.items()}


def spread(keep: int, wanted: Mapping[str, int], room: Mapping[str, int]) -> dict[str, int]:
    """Share ``keep`` in proportion to ``wanted``, none above its ``room``; exact, in integers.

    ``keep`` is at most the sum of ``room``, and the wanted numbers are positive.
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
