"""Which weights of a convolution's window never meet the zeros around the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transfer.export.steps.modules import each


def inside(window: Sequence[int], args: dict[str, Any]) -> Tensor:
    """Return a bool tensor of the window's shape: True where a weight always multiplies a value of the input.

    With ``before`` and ``after`` zeros on the two sides of a dimension, weight t of k, ``dilation`` apart, does so for
    images of every size and strides of any length if t · dilation ≥ before and (k - 1 - t) · dilation ≥ after. A
    constant channel then adds the same to every position, borders included.
    """
    found = torch.ones(tuple(window), dtype=torch.bool)
    if not window:
        return found
    dilation = each(args["dilation"], len(window))
    for dim, (size, step, (before, after)) in enumerate(zip(window, dilation, _zeros(window, args), strict=True)):
        place = torch.arange(size) * step
        fits = (place >= before) & (place.flip(0) >= after)
        found &= fits.view([-1 if i == dim else 1 for i in range(len(window))])
    return found


def _zeros(window: Sequence[int], args: dict[str, Any]) -> list[tuple[int, int]]:
    padding = args["padding"]
    if padding == "valid":
        return [(0, 0)] * len(window)
    if padding == "same":
        spans = [(size - 1) * step for size, step in zip(window, each(args["dilation"], len(window)), strict=True)]
        return [(span // 2, span - span // 2) for span in spans]
    return [(side, side) for side in each(padding, len(window))]
