"""An operation that is not understood: everything that goes in and out of it stays."""

from __future__ import annotations

from torch.fx import Node

from transfer.export.build import Builder
from transfer.export.channels import Channels, Kept
from transfer.export.flow import Flow, Step
from transfer.export.nodes import shape
from transfer.export.steps.modules import whole


class Opaque(Step):
    """An operation copied as it is."""

    def __init__(self, node: Node, out: Channels | None, flow: Flow) -> None:
        super().__init__(node, out)
        self._inputs = [flow.known[each] for each in node.all_input_nodes if each in flow.known]
        self._layer = whole(node, flow)

    def demand(self, kept: Kept) -> None:
        """Keep every channel of the arguments and the result."""
        for channels in self._inputs:
            kept.add(channels)
        if self.out is not None:
            kept.add(self.out)

    def emit(self, to: Builder) -> Node:
        """Copy it; a layer stays a layer."""
        if self._layer is None:
            return to.copy(self.node)
        name, layer = self._layer
        return to.layer(name, layer, self.node, to.get(self.node.all_input_nodes[0]))


def opaque(node: Node, flow: Flow) -> Opaque:
    """Return the step of any operation."""
    size = shape(node)
    counted = len(size) > 1 and isinstance(size[1], int)
    return Opaque(node, flow.fresh(size[1]) if counted else None, flow)
