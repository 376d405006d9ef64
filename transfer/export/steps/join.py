"""Concatenation."""

from __future__ import annotations

import torch
from torch.fx import Node

from transfer.export.build import Builder
from transfer.export.channels import Channels
from transfer.export.flow import Flow, Step
from transfer.export.nodes import arguments, shape


class Join(Step):
    """Tensors one after the other, along the channels or another dimension."""

    def __init__(self, node: Node, out: Channels) -> None:
        super().__init__(node, out)
        self._parts: list[Node] = arguments(node)["tensors"]

    def emit(self, to: Builder) -> Node:
        """Join the parts that have channels left."""
        parts = [to.get(part) for part in self._parts if to.has(part)]
        return parts[0] if len(parts) == 1 else to.call(self.node, (parts, arguments(self.node)["dim"]))


def join(node: Node, flow: Flow) -> Join | None:
    """Return the step of a concatenation of tensors with channels; else None."""
    if node.target != torch.ops.aten.cat.default:
        return None
    args = arguments(node)
    if not all(part in flow.known for part in args["tensors"]):
        return None
    parts, dim = [flow.known[part] for part in args["tensors"]], args["dim"] % len(shape(node))
    if dim == 1:
        fields = ([getattr(part, name) for part in parts] for name in ("atoms", "constant", "value"))
        return Join(node, Channels(*(torch.cat(field) for field in fields)))
    return Join(node, _along(parts, flow)) if dim > 1 else None


def _along(parts: list[Channels], flow: Flow) -> Channels:
    """Return the channels of parts that are side by side: constant where all hold the same constant."""
    first = out = parts[0]
    for part in parts[1:]:
        flow.atoms.tie(first.atoms, part.atoms)
        out = out.only(part.constant & (part.value == first.value))
    return out
