"""The elements of a tensor as integers: a processor may change the bits of a nan that it copies as a float."""

from __future__ import annotations

import torch
from torch import Tensor

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def words(value: Tensor) -> Tensor:
    """Return a contiguous tensor's elements, in a row, as integers of the same width; +0.0 alone is 0."""
    return value.reshape(-1).view(INTEGERS[value.element_size()])
