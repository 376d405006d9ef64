"""Convolutions and linear layers: where channels end, and where others begin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from transfer.export.build import Builder
from transfer.export.channels import Channels, Kept
from transfer.export.flow import Flow, Step
from transfer.export.nodes import arguments, shape
from transfer.export.steps.borders import inside
from transfer.export.steps.groups import even
from transfer.export.steps.modules import CONVOLUTIONS, convolution, dense, path

_ATEN = torch.ops.aten


class Layer(Step):
    """A weight (O, I / groups, *window) between the channels of its input and those of its output."""

    def __init__(self, node: Node, x: Channels, weight: Tensor, bias: Tensor | None, name: str, flow: Flow) -> None:
        self._x, self._weight, self._bias, self.name = x, weight, bias, name
        self._args = arguments(node)
        self.groups: int = self._args.get("groups", 1)
        self._sums = weight.double().flatten(2).sum(2) if weight.dim() > 2 else weight.double()
        self._live = self._varying()
        super().__init__(node, self._constants(flow.fresh(len(weight))))

    @property
    def inputs(self) -> Channels:
        """The channels of the input."""
        return self._x

    def demand(self, kept: Kept) -> None:
        """Keep the inputs that reach a kept output which varies; a constant one is written without any."""
        assert self.out is not None
        rows = kept.of(self.out)
        if rows.any():
            kept.add(self._x, self._needed(rows & ~self.out.constant))
            kept.add_one(self._x)  # gives the result its shape
        if self.groups > 1:
            even(kept, self._x, self.out, self.groups)

    def emit(self, to: Builder) -> Node:
        """Write the layer with its kept rows and columns, and the constants of the other columns in its bias."""
        assert self.out is not None
        rows, there = to.kept.places(self.out), to.kept.of(self._x)
        assert not bool((self._needed(to.kept.of(self.out) & ~self.out.constant) & ~there).any())
        weight, bias = self._rows(rows, there), self._folded(rows, there)
        if self._bias is None and not bool(bias.any()):
            layer = self._made(weight, None, to)
        else:
            layer = self._made(weight, bias, to)
        return to.layer(self.name, layer, self.node, to.get(self._args["input"]))

    def _varying(self) -> Tensor:
        """Return (O, I / groups) bool: which weights let an input into an output as more than a constant."""
        weight = self._weight.flatten(2) if self._weight.dim() > 2 else self._weight.unsqueeze(2)
        border = ~inside(self._weight.shape[2:], self._args).flatten()
        used, outside = weight.ne(0).any(2), weight[:, :, border].ne(0).any(2)
        fixed, zero = self._wide(self._x.constant), self._wide(self._x.value == 0)
        return used & ~(fixed & (zero | ~outside))

    def _constants(self, out: Channels) -> Channels:
        value = (self._wide(self._x.value) * self._sums).sum(1)
        value = value if self._bias is None else value + self._bias.double()
        return out.with_constants(~self._live.any(1), value)

    def _needed(self, rows: Tensor) -> Tensor:
        live = self._live & rows.unsqueeze(1)
        return live.unflatten(0, (self.groups, -1)).any(1).flatten()

    def _wide(self, values: Tensor) -> Tensor:
        """Spread one value per input (I,) to the outputs that it may reach, (O, I / groups)."""
        return values.view(self.groups, -1).repeat_interleave(len(self._weight) // self.groups, 0)

    def _rows(self, rows: Tensor, there: Tensor) -> Tensor:
        assert self.out is not None
        group = rows // (len(self._weight) // self.groups)
        columns = there.view(self.groups, -1)
        counts = columns.sum(1)
        local = columns.int().argsort(dim=1, descending=True, stable=True)[:, : int(counts.max())]
        weight = self._weight[rows.unsqueeze(1), local[group]].clone()
        weight[self.out.constant[rows]] = 0
        return weight

    def _folded(self, rows: Tensor, there: Tensor) -> Tensor:
        """Return the bias: what the removed constant inputs add, or the whole of a constant output."""
        assert self.out is not None
        bias = (self._wide(self._x.value.masked_fill(there, 0.0)) * self._sums).sum(1)
        bias = bias if self._bias is None else bias + self._bias.double()
        return torch.where(self.out.constant, self.out.value, bias)[rows].to(self._weight.dtype)

    def _made(self, weight: Tensor, bias: Tensor | None, to: Builder) -> Any:
        if self._weight.dim() == 2:
            return dense(weight, bias)
        groups = int(to.kept.of(self._x).view(self.groups, -1).any(1).sum())
        return convolution(weight, bias, groups, self._args)


def layer(node: Node, flow: Flow) -> Layer | None:
    """Return the step of a convolution, or of a linear layer on vectors (N, C); None for anything else."""
    if node.target not in CONVOLUTIONS and node.target != _ATEN.linear.default:
        return None
    args = arguments(node)
    x, weight, bias = args["input"], flow.value(args["weight"]), flow.value(args["bias"])
    if x not in flow.known or weight is None or (args["bias"] is not None and bias is None):
        return None
    if len(shape(x)) != weight.dim():
        return None
    return Layer(node, flow.known[x], weight, bias, path(node, args["weight"], flow), flow)
