"""Numbers computed from the sizes of tensors, and checks that the tracer has made already."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node

from transfer.export.build import Builder
from transfer.export.channels import Kept
from transfer.export.flow import Flow, Step

_CHECKS = (torch.ops.aten._assert_tensor_metadata.default,)


class Sizes(Step):
    """A number; the tensor of which it is a size stays, if only with one channel."""

    def __init__(self, node: Node, flow: Flow) -> None:
        super().__init__(node, None)
        self._of = [flow.known[each] for each in node.all_input_nodes if each in flow.known]

    def demand(self, kept: Kept) -> None:
        """Keep a channel of each measured tensor."""
        for channels in self._of:
            kept.add_one(channels)

    def emit(self, to: Builder) -> Node:
        """Copy it."""
        return to.copy(self.node)


class Check(Step):
    """A check of what is known since tracing."""

    def emit(self, to: Builder) -> None:
        """Write nothing."""


def sizes(node: Node, flow: Flow) -> Step | None:
    """Return the step of a number or a check; None for tensors."""
    if node.target in _CHECKS:
        return Check(node, None)
    numbers = (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool)
    value = node.meta.get("val")
    if isinstance(value, Tensor) or not isinstance(value, numbers):
        return None
    return Sizes(node, flow)
