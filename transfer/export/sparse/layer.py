"""A convolution or linear layer, with the sum and the bounds that follow it, in a dense and in a sparse form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transfer.export.sparse.kernel import products
from transfer.export.sparse.planes import Planes, Window
from transfer.export.sparse.threads import together


@dataclass(frozen=True)
class Fused:
    """What one layer computes: ``clamp(weight · x + bias + other, low, high)``.

    Attributes:
        weight: (O, I / groups, height, width), or (O, I) of a linear layer.
        bias: (O,).
        window: of a convolution; None for a linear layer.
        low: lower bound of the result, -inf for none.
        high: upper bound of the result, inf for none.
    """

    weight: Tensor
    bias: Tensor
    window: Window | None
    low: float = -math.inf
    high: float = math.inf

    def __repr__(self) -> str:
        return f"{self.window}, low={self.low}, high={self.high}"


class Dense(nn.Module):
    """The layer with torch's own convolution or product."""

    weight: Tensor
    bias: Tensor

    def __init__(self, fused: Fused) -> None:
        super().__init__()
        self.window, self.bounds = fused.window, (fused.low, fused.high)
        self.register_buffer("weight", fused.weight)
        self.register_buffer("bias", fused.bias)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the result for x (N, C, height, width), or (…, C) of a linear layer; ``other`` has its shape."""
        y = self._product(x)
        y = y if other is None else y.add_(other)
        return y if self.bounds == (-math.inf, math.inf) else y.clamp_(*self.bounds)

    def extra_repr(self) -> str:
        """Say what distinguishes two layers with the same weights."""
        return f"{self.window}, {self.bounds}"

    def _product(self, x: Tensor) -> Tensor:
        if self.window is None:
            return F.linear(x, self.weight, self.bias)
        at = self.window
        return F.conv2d(x, self.weight, self.bias, at.stride, at.padding, at.dilation, at.groups)


class Sparse(nn.Module):
    """The layer with the weights that are not 0 only; float32, on the processor, without gradients."""

    starts: Tensor
    inputs: Tensor
    values: Tensor
    bias: Tensor

    def __init__(self, fused: Fused) -> None:
        super().__init__()
        self.window, self.bounds = fused.window or Window((1, 1)), (fused.low, fused.high)
        self.linear = fused.window is None
        self._planes: dict[tuple[int, int], tuple[Planes, Tensor]] = {}
        weight = fused.weight.view(*fused.weight.shape, 1, 1) if self.linear else fused.weight
        counts = weight.flatten(1).count_nonzero(1)
        self.register_buffer("starts", torch.cat([counts.new_zeros(1), counts.cumsum(0)]))
        self.register_buffer("inputs", _inputs(weight, self.window.groups))
        self.register_buffer("values", weight[weight != 0].contiguous())
        self.register_buffer("bias", fused.bias)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the result for x (N, C, height, width), or (…, C) of a linear layer; ``other`` has its shape."""
        if not self.linear:
            return self._convolved(x, other)
        rows = x.reshape(-1, x.shape[-1]).T.reshape(1, x.shape[-1], -1, 1)  # the images of a batch are the positions
        added = None if other is None else other.reshape(-1, other.shape[-1]).T.reshape(1, other.shape[-1], -1, 1)
        return self._convolved(rows, added)[0, :, :, 0].T.reshape(*x.shape[:-1], -1)

    def extra_repr(self) -> str:
        """Say what distinguishes two layers with the same weights."""
        return f"{self.window}, {self.bounds}, weights={len(self.values)}"

    def _convolved(self, x: Tensor, other: Tensor | None) -> Tensor:
        planes, places = self._laid((x.shape[2], x.shape[3]))
        out = x.new_empty(len(x), len(self.bias), *planes.result)
        added = other.contiguous() if other is not None else x.new_zeros(1, 1, *planes.result)
        arrays = (self.starts, places, self.values, self.bias, added.flatten(2))
        fixed = (planes.lay(x).detach().numpy(), *(each.detach().numpy() for each in arrays), int(other is not None))
        product, result, lines = products(), out.flatten(2).numpy(), planes.lines()
        bounds = [torch.tensor(bound).numpy()[()] for bound in self.bounds]
        together(lambda first, last: product(*fixed, result, first, last, *lines, *bounds), self.starts)
        return out

    def _laid(self, sides: tuple[int, int]) -> tuple[Planes, Tensor]:
        """Return the planes for an image's size, and where in them each weight's piece begins."""
        if sides not in self._planes:
            planes = Planes.of(self.window, sides)
            self._planes = {**self._planes, sides: (planes, planes.places(*self.inputs))}
        return self._planes[sides]


def _inputs(weight: Tensor, groups: int) -> Tensor:
    """Return channel, row and column of each weight that is not 0, (3, weights) int64."""
    output, channel, row, column = weight.nonzero().T
    group = output // max(1, len(weight) // groups)
    return torch.stack([channel + group * weight.shape[1], row, column])
