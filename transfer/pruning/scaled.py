"""Tensors with a separate power-of-two exponent: exact rescaling keeps float32 products in range at any depth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_ZERO = -(2**40)  # exponent of an all-zero tensor: never the higher one in an alignment


@dataclass(eq=False)
class View:
    """Substitute for a weight in a pass, ``tensor · 2**exponent``; ``settled`` once its exponent is fixed."""

    tensor: Tensor
    exponent: int = 0
    settled: bool = False

    @torch.no_grad()
    def settle(self, input: Tensor) -> None:
        """Move into the view, for good, the power of two by which the input of its first use leaves [0.5, 1).

        Then no result needs rescaling: it has only grown by what one layer adds up. Without effect on an input that is
        0 or infinite.
        """
        largest = float(input.amax())
        if 0.0 < largest < math.inf:
            shift = math.frexp(largest)[1]
            self.tensor.mul_(power(-shift))
            self.exponent += shift
            self.settled = True


@dataclass(frozen=True)
class Scaled:
    """The value ``tensor · 2**exponent``."""

    tensor: Tensor
    exponent: int = 0

    def at(self, exponent: int) -> Tensor:
        """Return the tensor that represents the same value at another (higher) exponent."""
        if exponent == self.exponent:
            return self.tensor
        return self.tensor * power(self.exponent - exponent)

    def plus(self, other: "Scaled | None" = None) -> "Scaled":
        """Add after aligning both to the higher exponent."""
        if other is None:
            return self
        low, high = sorted((self, other), key=lambda value: value.exponent)
        scale = power(low.exponent - high.exponent)
        return Scaled(torch.add(high.tensor, low.tensor, alpha=scale), high.exponent)

    def add_(self, other: "Scaled") -> "Scaled":
        """Return :meth:`plus`, written over this value's tensor."""
        shift = self.exponent - other.exponent
        if shift < 0:
            return Scaled(self.tensor.mul_(power(shift)).add_(other.tensor), other.exponent)
        return Scaled(self.tensor.add_(other.tensor, alpha=power(-shift)), self.exponent)

    def rescaled(self) -> "Scaled":
        """Rescale by a power of two, which is exact, so that the largest absolute entry lies in [0.5, 1)."""
        values = self.tensor.detach()
        largest = float(torch.maximum(values.amax(), -values.amin()))
        if largest == 0.0 or not math.isfinite(largest):
            return Scaled(self.tensor, self.exponent if largest else _ZERO)
        shift = math.frexp(largest)[1]
        return Scaled(self.tensor * power(-shift), self.exponent + shift)


def power(exponent: int) -> float:
    """Return ``2**exponent``, 0.0 below the smallest float64."""
    return math.ldexp(1.0, max(exponent, -1100))


def aligned(values: Mapping[str, Scaled]) -> dict[str, Tensor]:
    """Return the tensors of all values at one common exponent."""
    high = max(value.exponent for value in values.values())
    return {name: value.at(high) for name, value in values.items()}
