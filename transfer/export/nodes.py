"""Reads the nodes of a traced graph."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.fx import Node


def module_of(node: Node) -> str:
    """Return the name of the module that an operation is part of."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return (stack[-1][0] if stack else "") or "(the model)"


def arguments(node: Node) -> dict[str, Any]:
    """Return an operation's arguments by name, defaults included."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((each.name for each in schema), node.args, strict=False)) | dict(node.kwargs)
    return {each.name: given.get(each.name, each.default_value) for each in schema}


def shape(node: Node) -> tuple[Any, ...]:
    """Return the shape of a node's tensor, () if it is none; sizes that may change are symbols."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Return whether two shapes are equal for every image; comparing symbols themselves would fix their values."""
    return [str(size) for size in one] == [str(size) for size in other]
