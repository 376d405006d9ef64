"""The operations whose channels are understood; every other one keeps all channels around it."""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import Node

from transfer.export.flow import Flow, Step
from transfer.export.steps.join import join
from transfer.export.steps.layer import layer
from transfer.export.steps.norm import norm
from transfer.export.steps.opaque import Opaque, opaque
from transfer.export.steps.pointwise import pointwise
from transfer.export.steps.reshape import reshape
from transfer.export.steps.sizes import sizes
from transfer.export.steps.spatial import spatial
from transfer.export.steps.static import static

__all__ = ["Opaque", "step"]

Rule = Callable[[Node, Flow], Step | None]
_RULES: tuple[Rule, ...] = (static, sizes, layer, norm, spatial, reshape, join, pointwise)


def step(node: Node, flow: Flow) -> Step:
    """Return the step of an operation, with what follows for its result's channels."""
    for rule in _RULES:
        if (found := rule(node, flow)) is not None:
            return found
    return opaque(node, flow)
