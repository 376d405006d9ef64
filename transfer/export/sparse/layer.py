"""A convolution or linear layer, with the sum and the bounds that follow it, in a dense and in a sparse form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from checkpoints.errors import InputError
from transfer.export.sparse.kernel import PACK, products
from transfer.export.sparse.planes import Planes, Window
from transfer.export.sparse.threads import together

SIZES = 8
"""Image sizes whose places are remembered."""


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


@dataclass(frozen=True)
class Laid:
    """What a product needs besides the images, for one size of them.

    Attributes:
        planes: how the images are laid out.
        weights: where each row begins, where in the images' line each weight's piece begins, the weights, the bias.
        nothing: zeros, (1, 1, positions), where no tensor is added.
    """

    planes: Planes
    weights: tuple[np.ndarray, ...]
    nothing: np.ndarray


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
        self._limits = np.float32(fused.low), np.float32(fused.high)
        self._known: dict[tuple[int, int], Laid] = {}
        weight = fused.weight.view(*fused.weight.shape, 1, 1) if self.linear else fused.weight
        self.channels = weight.shape[1] * self.window.groups
        starts, times = _packs(weight.flatten(1).count_nonzero(1))
        inputs = _inputs(weight, self.window.groups).repeat_interleave(times, 1)
        values = (weight[weight != 0] / times).repeat_interleave(times)
        for name, value in (("starts", starts), ("inputs", inputs), ("values", values)):
            self.register_buffer(name, value)
        self.register_buffer("bias", fused.bias)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the result for x (N, C, height, width), or (…, C) of a linear layer; ``other`` has its shape.

        Raises:
            InputError: the layer does not take such tensors, or a gradient is wanted.
        """
        self._check(x, other)
        if not self.linear:
            return self._convolved(x, other)
        rows = _as_image(x)
        return self._convolved(rows, None if other is None else _as_image(other))[0, :, 0].T.reshape(*x.shape[:-1], -1)

    def extra_repr(self) -> str:
        """Say what distinguishes two layers with the same weights."""
        return f"{self.window}, {self.bounds}, weights={len(self.values)}"

    def _check(self, x: Tensor, other: Tensor | None) -> None:
        """Refuse what the compiled loops, which check nothing, would read as something else."""
        channels = x.shape[-1] if self.linear else x.shape[1] if x.dim() == 4 else None
        if channels != self.channels:
            wanted = f"(…, {self.channels})" if self.linear else f"(N, {self.channels}, height, width)"
            raise InputError(f"a sparse layer got a tensor of shape {tuple(x.shape)}, but takes {wanted}")
        for each in (x,) if other is None else (x, other):
            if (each.dtype, each.device.type) != (torch.float32, "cpu"):
                raise InputError(
                    f"a sparse layer got {each.dtype} on {each.device}, but takes torch.float32 on the processor"
                )
            if each.requires_grad and torch.is_grad_enabled():
                raise InputError("a sparse layer gives no gradients; call the model under torch.inference_mode()")

    def _convolved(self, x: Tensor, other: Tensor | None) -> Tensor:
        laid = self._laid((x.shape[2], x.shape[3]))
        out = x.new_empty(len(x), len(self.bias), *laid.planes.result)
        if other is not None and other.shape != out.shape:
            raise InputError(f"a sparse layer adds a tensor of shape {tuple(other.shape)} to one of {tuple(out.shape)}")
        added = laid.nothing if other is None else other.detach().contiguous().flatten(2).numpy()
        line, result, lines = laid.planes.lay(x.detach()).numpy(), out.flatten(2).numpy(), laid.planes.lines
        product, step = products(), int(other is not None)
        together(
            lambda first, last: product(
                line, *laid.weights, added, step, result, first, last, *lines, *self._limits
            ),
            self.starts,
        )  # fmt: skip
        return out

    def _laid(self, sides: tuple[int, int]) -> Laid:
        if sides not in self._known:
            planes = Planes.of(self.window, sides)
            arrays = (self.starts, planes.places(*self.inputs), self.values, self.bias)
            nothing = np.zeros((1, 1, prod(planes.result)), np.float32)
            known = self._known if len(self._known) < SIZES else {}
            self._known = {**known, sides: Laid(planes, tuple(each.numpy() for each in arrays), nothing)}
        return self._known[sides]


def _as_image(x: Tensor) -> Tensor:
    """Return vectors (…, C) as the positions of one image of one line, (1, C, 1, vectors)."""
    return x.reshape(-1, x.shape[-1]).T.reshape(1, x.shape[-1], 1, -1)


def _packs(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each row begins in whole packs of weights, and how many times each weight is entered.

    The last weight of a row fills up its pack in equal parts. Zeros would make NaN of an infinite input.
    """
    filled = (counts + PACK - 1) // PACK * PACK
    times = torch.ones(int(counts.sum()), dtype=torch.int64)
    times[counts.cumsum(0)[counts > 0] - 1] += (filled - counts)[counts > 0]
    return torch.cat([counts.new_zeros(1), filled.cumsum(0)]), times


def _inputs(weight: Tensor, groups: int) -> Tensor:
    """Return channel, row and column of each weight that is not 0, (3, weights) int64."""
    output, channel, row, column = weight.nonzero().T
    group = output // max(1, len(weight) // groups)
    return torch.stack([channel + group * weight.shape[1], row, column])
