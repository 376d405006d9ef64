"""Operations value by value: activations, residual sums, gates, scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node, map_arg

from transfer.export.build import Builder
from transfer.export.channels import Channels
from transfer.export.flow import Flow, Step
from transfer.export.nodes import arguments, same, shape

_ATEN = torch.ops.aten
_ALSO = {_ATEN.hardswish.default, _ATEN._to_copy.default, _ATEN.alias.default, _ATEN.detach.default}
"""Operations value by value that torch does not tag as such."""


@dataclass
class Operand:
    """A tensor argument: its channels, and whether it is written as one constant per channel."""

    channels: Channels
    vector: bool


class Pointwise(Step):
    """An operation on tensors of C channels."""

    def __init__(self, node: Node, operands: dict[Node, Operand], out: Channels) -> None:
        super().__init__(node, out)
        self._operands = operands

    def emit(self, to: Builder) -> Node:
        """Write it on the kept channels."""
        made = {node: self._vector(node, to) for node, each in self._operands.items() if each.vector}
        args, kwargs = map_arg((self.node.args, self.node.kwargs), lambda each: made.get(each) or to.get(each))
        return to.call(self.node, args, kwargs)

    def _vector(self, node: Node, to: Builder) -> Node:
        assert self.out is not None
        value = self._operands[node].channels.value[to.kept.of(self.out)].to(node.meta["val"].dtype)
        ones = [1] * (len(shape(self.node)) - 2)
        return to.tensor(f"constants.{self.node.name}", value.view(1, -1, *ones))


def pointwise(node: Node, flow: Flow) -> Step | None:
    """Return the step of an operation whose tensors have the same channels or one constant for each; else None."""
    if torch.Tag.pointwise not in getattr(node.target, "tags", ()) and node.target not in _ALSO:
        return _dropout(node, flow)
    size = shape(node)
    if len(size) < 2 or not isinstance(size[1], int):
        return None
    found = {each: _operand(each, size, flow) for each in node.all_input_nodes if shape(each) or each in flow.static}
    operands = {each: operand for each, operand in found.items() if operand is not None}
    tied = [each for each, operand in operands.items() if not operand.vector]
    if len(operands) < len(found) or not tied:
        return None
    _loosen(operands, tied, size)
    return Pointwise(node, operands, _result(node, operands, flow))


def _operand(node: Node, size: tuple[Any, ...], flow: Flow) -> Operand | None:
    if node in flow.known:
        fits = len(shape(node)) == len(size) and shape(node)[1] == size[1]
        return Operand(flow.known[node], vector=False) if fits else None
    value = flow.value(node)
    if value is None or not value.is_floating_point():
        return None
    wide = (1,) * (len(size) - value.dim()) + tuple(value.shape)
    if len(wide) != len(size) or wide[1] not in (1, size[1]) or value.numel() != wide[1]:
        return None
    per_channel = value.double().flatten().expand(size[1])
    own = Channels.varying(torch.zeros(size[1], dtype=torch.int64))
    return Operand(own.with_constants(torch.ones(size[1], dtype=torch.bool), per_channel), vector=True)


def _loosen(operands: dict[Node, Operand], tied: list[Node], size: tuple[Any, ...]) -> None:
    """Write a wholly constant tensor as constants, so that its layers can go, if another has the result's shape."""
    shaped = [each for each in tied if same(shape(each), size) and not operands[each].channels.constant.all()]
    for each in tied if shaped else []:
        operands[each].vector = bool(operands[each].channels.constant.all())


def _result(node: Node, operands: dict[Node, Operand], flow: Flow) -> Channels:
    first, *others = [each.channels for each in operands.values() if not each.vector]
    for other in others:
        flow.atoms.tie(first.atoms, other.atoms)
    value = _evaluated(node, operands)
    everywhere = torch.stack([each.channels.constant for each in operands.values()]).all(0)
    if value is None:
        everywhere, value = torch.zeros_like(everywhere), torch.zeros_like(first.value)
    if node.target == _ATEN.mul.Tensor:
        zero = torch.stack([each.channels.constant & (each.channels.value == 0) for each in operands.values()]).any(0)
        everywhere, value = everywhere | zero, value.masked_fill(zero, 0.0)
    return first.with_constants(everywhere, value)


def _evaluated(node: Node, operands: dict[Node, Operand]) -> Tensor | None:
    """Return the operation's results on the constants, (C,); None if they depend on sizes or are no real numbers."""
    types = [each.meta["val"].dtype for each in (node, *operands) if "val" in each.meta]
    if not all(each.is_floating_point for each in types) or set(node.all_input_nodes) != set(operands):
        return None
    args, kwargs = map_arg((node.args, node.kwargs), lambda each: operands[each].channels.value)
    result: Tensor = node.target(*args, **kwargs)  # type: ignore[operator]
    return result.double()


def _dropout(node: Node, flow: Flow) -> Step | None:
    if node.target != _ATEN.dropout.default or arguments(node)["train"]:
        return None
    x = node.all_input_nodes[0]
    return Same(node, flow.known[x]) if x in flow.known else None


class Same(Step):
    """An operation that does nothing."""

    def emit(self, to: Builder) -> Node:
        """Write nothing new."""
        return to.get(self.node.all_input_nodes[0])
