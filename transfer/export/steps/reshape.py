"""Changes of shape that leave the channels in order: flattening, and new dimensions after the second."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.fx import Node

from transfer.export.build import Builder
from transfer.export.channels import Channels
from transfer.export.flow import Flow, Step
from transfer.export.nodes import arguments, same, shape

_ATEN = torch.ops.aten
_VIEWS = (_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.reshape.default)
_OTHERS = (_ATEN.squeeze.dim, _ATEN.squeeze.dims, _ATEN.unsqueeze.default, _ATEN.flatten.using_ints)


class Flatten(Step):
    """(N, C, …) → (N, C · positions): each channel becomes several."""

    def emit(self, to: Builder) -> Node:
        """Flatten what is kept."""
        x = to.get(self.node.all_input_nodes[0])
        return to.graph.create_node("call_function", torch.flatten, (x, 1), {}, self.node.name)


class Reshape(Step):
    """(N, C, …) → (N, C, …) with other dimensions after the second."""

    def emit(self, to: Builder) -> Node:
        """Write it with the number of channels that is left."""
        if self.node.target not in _VIEWS:
            return to.copy(self.node)
        assert self.out is not None
        x, (first, _, *rest) = self.node.args[0], _sizes(self.node)
        sizes = [to.get(each) if isinstance(each, Node) else each for each in (first, *rest)]
        sizes.insert(1, len(to.kept.places(self.out)))
        return to.call(self.node, (to.get(x), sizes))  # type: ignore[arg-type]


class Part(Step):
    """A range of the channels."""

    def __init__(self, node: Node, x: Channels, start: int, end: int) -> None:
        self._x, self._start = x, start
        super().__init__(node, Channels(x.atoms[start:end], x.constant[start:end], x.value[start:end]))

    def emit(self, to: Builder) -> Node:
        """Take the range of what is kept."""
        assert self.out is not None
        start = int(to.kept.of(self._x)[: self._start].sum())
        return to.call(
            self.node, (to.get(self.node.all_input_nodes[0]), 1, start, start + len(to.kept.places(self.out)))
        )


def reshape(node: Node, flow: Flow) -> Step | None:
    """Return the step of a change of shape that keeps the channels in order; else None."""
    inputs = node.all_input_nodes
    if not inputs or inputs[0] not in flow.known:
        return None
    x = flow.known[inputs[0]]
    if node.target == _ATEN.slice.Tensor:
        return _part(node, x)
    if node.target not in (*_VIEWS, *_OTHERS):
        return None
    before, after = shape(inputs[0]), shape(node)
    if len(after) < 2 or not same(before[:1], after[:1]):
        return None
    if after[1] == before[1] and (node.target in _VIEWS or _late(node, len(before))):
        return Reshape(node, x)
    positions = before[2:]
    if len(after) == 2 and all(isinstance(size, int) for size in positions) and after[1] == len(x) * prod(positions):
        parts = (part.repeat_interleave(prod(positions)) for part in (x.atoms, x.constant, x.value))
        return Flatten(node, Channels(*parts))
    return None


def _part(node: Node, x: Channels) -> Part | None:
    args = arguments(node)
    start, end = args["start"] or 0, len(x) if args["end"] is None else args["end"]
    if args["dim"] != 1 or args["step"] != 1 or not isinstance(start, int) or not isinstance(end, int):
        return None
    start, end, _ = slice(start, end).indices(len(x))
    return Part(node, x, start, end)


def _sizes(node: Node) -> Any:
    return node.args[1]


def _late(node: Node, dims: int) -> bool:
    """Return whether squeezed or new dimensions come after the second."""
    args = arguments(node)
    if "start_dim" in args:
        return bool(args["start_dim"] % dims > 1)
    along = args["dim"] if isinstance(args["dim"], (list, tuple)) else [args["dim"]]
    new = node.target == _ATEN.unsqueeze.default
    return all(dim % (dims + new) > 1 for dim in along)
