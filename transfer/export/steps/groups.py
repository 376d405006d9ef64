"""Grouped convolutions: every group that is left has as many inputs and as many outputs as the others."""

from __future__ import annotations

import torch
from torch import Tensor

from transfer.export.channels import Channels, Kept


def even(kept: Kept, x: Channels, out: Channels, groups: int) -> None:
    """Keep further channels until the groups are equal; a group with none on either side may go."""
    inputs, outputs = kept.of(x).view(groups, -1), kept.of(out).view(groups, -1)
    active = inputs.any(1) | outputs.any(1)
    if active.any():
        kept.add(x, _filled(inputs, active).flatten())
        kept.add(out, _filled(outputs, active).flatten())


def _filled(mask: Tensor, active: Tensor) -> Tensor:
    count = max(1, int(mask.sum(1).max()))
    first = mask.int().argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(mask).scatter(1, first, True) & active.unsqueeze(1)
