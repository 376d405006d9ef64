"""Rewrites operations in place, such as ReLU's, as operations with a result of their own.

Torch's own rewriting is complete but traces the network a second time, which takes most of the time. This one is for
the plain case, where no two tensors that an operation changes share memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, Node

from transfer.export.nodes import arguments

_ATEN = torch.ops.aten
_FRESH = {
    _ATEN.conv1d, _ATEN.conv2d, _ATEN.conv3d, _ATEN.linear, _ATEN.batch_norm, _ATEN.cat, _ATEN.max_pool2d,
    _ATEN.avg_pool2d, _ATEN.adaptive_avg_pool2d, _ATEN.hardswish, _ATEN.mean,
}  # fmt: skip
"""Operations whose result never shares memory with an argument; those that torch tags as pointwise are others."""


def functional(graph: Graph) -> bool:
    """Rewrite a traced graph, in place, so that no operation changes a tensor; False, and unchanged, if it cannot."""
    calls = [node for node in graph.nodes if node.op == "call_function"]
    if any(node.op == "get_attr" for node in graph.nodes) or any(_trains(node) for node in calls):
        return False
    mutable = [node for node in calls if _mutates(node)]
    if not all(_counterpart(node) and _alone(node) for node in mutable):
        return False
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in mutable:
        base = node.all_input_nodes[0]
        node.target = _counterpart(node)
        for user in [user for user in base.users if order[user] > order[node]]:
            user.replace_input_with(base, node)
    return True


def _mutates(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _trains(node: Node) -> bool:
    if node.target != _ATEN.batch_norm.default:
        return not isinstance(node.target, torch._ops.OpOverload) and "val" not in node.meta
    return bool(arguments(node)["training"])


def _counterpart(node: Node) -> Any:
    """Return the operation that gives the same result without changing its argument, if it is value by value."""
    name = node.target._schema.name.partition("::")[2]  # type: ignore[union-attr]
    packet = getattr(_ATEN, name[:-1], None) if name.endswith("_") else None
    found = getattr(packet, node.target._overloadname, None)  # type: ignore[union-attr]
    return found if found is not None and _fresh(found) else None


def _alone(node: Node) -> bool:
    """Return whether the changed tensor is nobody's view, has no views, and keeps its type."""
    base = node.all_input_nodes[0]
    types = {each.meta["val"].dtype for each in node.all_input_nodes if hasattr(each.meta.get("val"), "dtype")}
    users = [user for each in (base, node) for user in each.users]
    return node.args[0] is base and len(types) == 1 and all(_own(each) for each in (base, *users))


def _own(node: Node) -> bool:
    """Return whether a node gives a tensor of its own, or one that will have become its own; outputs read only."""
    if node.op == "output":
        return True
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    return _counterpart(node) is not None if _mutates(node) else _fresh(node.target)


def _fresh(target: Any) -> bool:
    return torch.Tag.pointwise in target.tags or target.overloadpacket in _FRESH
