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

    def plus(self, other: "Scaled | None") -> "Scaled":
        """Add after aligning both to the higher exponent."""
        if other is None:
            return self
        high = max(self.exponent, other.exponent)
        return Scaled(self.at(high) + other.at(high), high)

    def rescaled(self, view: View | None = None) -> "Scaled":
        """Rescale by a power of two, which is exact, so that the largest absolute entry lies in [0.5, 1).

        If gradients are not recorded, the factor moves into ``view`` permanently: later passes need no reduction.
        """
        largest = float(self.tensor.detach().abs().amax())
        if largest == 0.0 or not math.isfinite(largest):
            return Scaled(self.tensor, self.exponent if largest else _ZERO)
        shift = math.frexp(largest)[1]
        if view is not None and not torch.is_grad_enabled():
            view.tensor.mul_(power(-shift))
            view.exponent += shift
            view.settled = True
        return Scaled(self.tensor * power(-shift), self.exponent + shift)


def power(exponent: int) -> float:
    """Return ``2**exponent``, 0.0 below the smallest float64."""
    return math.ldexp(1.0, max(exponent, -1100))


def aligned(values: Mapping[str, Scaled]) -> dict[str, Tensor]:
    """Return the tensors of all values at one common exponent."""
    high = max(value.exponent for value in values.values())
    return {name: value.at(high) for name, value in values.items()}
