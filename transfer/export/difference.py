"""How far the outputs of a form lie from the model's."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

CLOSE = 1e-4
"""The largest difference of outputs, over the largest output, with which a float32 form counts as the same model."""


def gap(wanted: Any, found: Any) -> float:
    """Return the largest difference of two models' outputs, over the largest of the first's.

    It is infinite where a difference is not finite, and for another number of outputs or other shapes.
    """
    old, new = _tensors(wanted), _tensors(found)
    if [each.shape for each in old] != [each.shape for each in new]:
        return math.inf
    each = [float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in zip(old, new, strict=True)]
    return max(each) if all(map(math.isfinite, each)) else math.inf


def _tensors(outputs: Any) -> list[Tensor]:
    return [each.float() for each in pytree.tree_leaves(outputs) if isinstance(each, Tensor)]
