"""Drop the smallest weights of a model that trains: the step of imp and of gmp."""

import torch
from torch import nn

from transfer.pruning.allocation import choose
from transfer.pruning.masks import Masks
from transfer.pruning.patterns import Constraint
from transfer.pruning.reduction import Processes


@torch.no_grad()
def smallest_dropped(
    model: nn.Module, masks: Masks, keep: int, *, allocation: str, constraint: Constraint | None, processes: Processes
) -> Masks:
    """Return masks of the ``keep`` largest weights among those that the masks still keep; the same on all processes.

    Args:
        model: its weights are compared by magnitude.
        masks: True = kept so far.
        keep: number kept in total.
        allocation: "global", "uniform" or "erk".
        constraint: a pattern of the kept weights; None = any.
        processes: those that train the model; all get the masks of the first.
    """
    sizes = {name: p.detach().cpu().double().abs() for name, p in masks.match(model).items()}
    chosen = choose(sizes, {name: mask.cpu() for name, mask in masks.items()}, keep, allocation, constraint)
    return Masks(processes.of_first(chosen))
