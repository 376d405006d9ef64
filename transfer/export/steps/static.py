"""What does not depend on the image, such as standardized weights, is computed once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node, map_arg

from transfer.export.build import Builder
from transfer.export.flow import Flow, Step


class Static(Step):
    """A value that is already known; it is written where it is used."""

    def emit(self, to: Builder) -> None:
        """Write nothing."""


def static(node: Node, flow: Flow) -> Step | None:
    """Compute an operation whose arguments are known; None if one depends on the image, or the result is random."""
    tags = getattr(node.target, "tags", ())
    if torch.Tag.nondeterministic_seeded in tags or not isinstance(node.meta.get("val"), Tensor):
        return None
    if any(each not in flow.static for each in node.all_input_nodes):
        return None
    args, kwargs = map_arg((node.args, node.kwargs), lambda each: flow.static[each][1])
    flow.static[node] = (node.name, node.target(*args, **kwargs))  # type: ignore[operator]
    return Static(node, None)
