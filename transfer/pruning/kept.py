"""Which prunable weights masks keep."""

from collections.abc import Mapping

import torch
from torch import Tensor

from checkpoints.errors import InputError


def kept(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Return a bool mask of every prunable weight, True = kept; a weight without a mask is kept whole.

    Raises:
        InputError: a mask belongs to no prunable weight, or has another shape or dtype.
    """
    masks = masks or {}
    for name, mask in masks.items():
        if name not in weights:
            raise InputError(
                f"mask {name} is of no prunable weight of the model that is not excluded; were the masks made for it?"
            )
        if mask.dtype != torch.bool or mask.shape != weights[name].shape:
            raise InputError(
                f"mask {name} is {mask.dtype} of shape {tuple(mask.shape)}; give bool, True = kept, of the "
                f"weight's shape {tuple(weights[name].shape)}"
            )
    full = (torch.ones_like(w, dtype=torch.bool) for w in weights.values())
    return {name: masks[name].to(one.device) if name in masks else one for name, one in zip(weights, full, strict=True)}
