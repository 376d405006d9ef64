"""Tensors with a power of two kept apart: exact rescaling, so that float32 holds products over any depth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_ZERO = -(2**40)  # the exponent of a tensor of zeros: it loses every alignment


@dataclass(eq=False)
class View:
    """What stands for a weight in a pass: ``tensor · 2**exponent``; ``settled`` once its power of two is chosen."""

    tensor: Tensor
    exponent: int = 0
    settled: bool = False


@dataclass(frozen=True)
class Scaled:
    """The value ``tensor · 2**exponent``."""

    tensor: Tensor
    exponent: int = 0

    def at(self, exponent: int) -> Tensor:
        """Return the tensor that stands for the same value at another (higher) exponent."""
        if exponent == self.exponent:
            return self.tensor
        return self.tensor * power(self.exponent - exponent)

    def plus(self, other: "Scaled | None") -> "Scaled":
        """Add, exponents aligned to the higher one."""
        if other is None:
            return self
        high = max(self.exponent, other.exponent)
        return Scaled(self.at(high) + other.at(high), high)

    def rescaled(self, view: View | None = None) -> "Scaled":
        """Bring the largest entry to [0.5, 1) by a power of two, which is exact.

        Where no gradients are recorded, the view takes the power over for good: later passes need no reduction.
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
