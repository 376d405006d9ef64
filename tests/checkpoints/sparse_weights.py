"""Weights with zeros, and equality to the bit."""

from __future__ import annotations

import torch
from torch import Tensor


def pruned(shape: tuple[int, ...], sparsity: float, seed: int = 0) -> Tensor:
    """Normal numbers, of which the fraction ``sparsity`` is +0.0."""
    source = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=source)
    return values.masked_fill(torch.rand(shape, generator=source) < sparsity, 0.0)


def bits(value: Tensor) -> Tensor:
    """The bytes of a tensor."""
    return value.contiguous().reshape(-1).view(torch.uint8)


def assert_bits_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """The same names in the same order, with the same dtypes, shapes and bytes."""
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        assert torch.equal(bits(found[name]), bits(value)), name
