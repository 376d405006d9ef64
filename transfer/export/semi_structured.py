"""Linear layers of which two of four weights are zero, as a GPU's sparse tensor cores take them."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured

from checkpoints.errors import InputError

MULTIPLE = 64
"""Both sides of a weight must be multiples of it; the kernels' smallest sizes differ by precision and version."""


def semi_structured(model: nn.Module) -> nn.Module:
    """Return a copy in which torch's 2:4 kernels compute every linear layer that they can.

    Args:
        model: in half precision, on a GPU. PyTorch has no such kernel for convolutions.

    Raises:
        InputError: no linear layer satisfies the pattern.
    """
    model = copy.deepcopy(model)
    found = [module for module in model.modules() if isinstance(module, nn.Linear) and two_of_four(module.weight)]
    if not found:
        raise InputError(
            "no linear layer has a 2:4 pattern and sides that are multiples of "
            f"{MULTIPLE}; prune with --prune.pattern 2:4 (PyTorch has 2:4 kernels for linear layers only)"
        )
    for module in found:
        module.weight = nn.Parameter(to_sparse_semi_structured(module.weight.detach()), requires_grad=False)
    return model


def two_of_four(weight: Tensor) -> bool:
    """Return whether a weight (O, I) has at most two others than 0 in each four inputs, and sides that kernels take."""
    if any(side % MULTIPLE for side in weight.shape):
        return False
    return bool((weight.detach().unflatten(1, (-1, 4)).ne(0).sum(2) <= 2).all())
