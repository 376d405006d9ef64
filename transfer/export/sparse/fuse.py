"""Finds the layers of a traced graph, and what can be computed in one go with each: BatchNorm, a sum, bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from transfer.export.flow import Flow
from transfer.export.nodes import arguments, same, shape
from transfer.export.sparse.layer import Fused
from transfer.export.sparse.planes import Window
from transfer.export.steps.modules import each, path

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class Chain:
    """A layer and the operations that follow it and nothing else.

    Attributes:
        name: of the module that owns the weight.
        nodes: the operations, the layer first.
        x: the layer's input.
        other: what is added to the result, if anything.
        fused: what the operations compute together.
        masked: the layer's own weight, for its density.
    """

    name: str
    nodes: tuple[Node, ...]
    x: Node
    other: Node | None
    fused: Fused
    masked: Tensor


def chains(flow: Flow, nodes: list[Node]) -> Iterator[Chain]:
    """Yield the chain of every convolution and linear layer whose weight does not depend on the image."""
    taken: set[Node] = set()
    for node in nodes:
        chain = _layer(node, flow)
        if chain is not None:
            chain = _bounded(_summed(_normed(chain, flow), flow, taken), taken)
            taken.update(chain.nodes)
            yield chain


def _layer(node: Node, flow: Flow) -> Chain | None:
    if node.target not in (_ATEN.conv2d.default, _ATEN.linear.default):
        return None
    args = arguments(node)
    weight, bias = flow.value(args["weight"]), flow.value(args["bias"])
    if weight is None or args["input"] in flow.static or (bias is None and args["bias"] is not None):
        return None
    if len(shape(args["input"])) != 4 and weight.dim() == 4:  # one image without its dimension N
        return None
    window = None if weight.dim() == 2 else _window(weight, args)
    fused = Fused(weight.clone(), weight.new_zeros(len(weight)) if bias is None else bias.clone(), window)
    return Chain(path(node, args["weight"], flow), (node,), args["input"], None, fused, weight)


def _window(weight: Tensor, args: dict[str, Any]) -> Window:
    size = (weight.shape[2], weight.shape[3])
    return Window(size, _pair(args["stride"]), _pair(args["padding"]), _pair(args["dilation"]), args["groups"])


def _pair(value: int | list[int]) -> tuple[int, int]:
    rows, columns = each(value, 2)
    return rows, columns


def _next(chain: Chain, *targets: object) -> Node | None:
    """Return the only operation that uses the chain's result, if it is one of the targets."""
    users = list(chain.nodes[-1].users)
    return users[0] if len(users) == 1 and users[0].target in targets else None


def _normed(chain: Chain, flow: Flow) -> Chain:
    """Move a BatchNorm with stored statistics into weight and bias."""
    node = _next(chain, _ATEN.batch_norm.default)
    if node is None or chain.fused.window is None or (args := arguments(node))["training"]:
        return chain
    mean, var, scale, shift = (flow.value(args[key]) for key in ("running_mean", "running_var", "weight", "bias"))
    if mean is None or var is None or (scale is None) != (args["weight"] is None):
        return chain
    factor = (var.double() + args["eps"]).rsqrt() * (1 if scale is None else scale.double())
    bias = (chain.fused.bias.double() - mean.double()) * factor + (0 if shift is None else shift.double())
    weight = chain.fused.weight.double() * factor.view(-1, 1, 1, 1)
    kind = chain.fused.weight.dtype
    fused = replace(chain.fused, weight=weight.to(kind), bias=bias.to(kind))
    return replace(chain, nodes=(*chain.nodes, node), fused=fused)


def _summed(chain: Chain, flow: Flow, taken: set[Node]) -> Chain:
    """Take in the sum of the result with another tensor of its shape."""
    node = _next(chain, _ATEN.add.Tensor)
    if node is None or node in taken or arguments(node)["alpha"] != 1 or len(node.all_input_nodes) != 2:
        return chain
    other = next(each for each in node.all_input_nodes if each is not chain.nodes[-1])
    if other in flow.static or not same(shape(other), shape(chain.nodes[-1])):
        return chain
    return replace(chain, nodes=(*chain.nodes, node), other=other)


def _bounded(chain: Chain, taken: set[Node]) -> Chain:
    """Take in a ReLU, or one with an upper bound."""
    node = _next(chain, _ATEN.relu.default, _ATEN.relu6.default, _ATEN.hardtanh.default)
    if node is None or node in taken:
        return chain
    low, high = _bounds(node)
    return replace(chain, nodes=(*chain.nodes, node), fused=replace(chain.fused, low=low, high=high))


def _bounds(node: Node) -> tuple[float, float]:
    if node.target == _ATEN.hardtanh.default:
        args = arguments(node)
        return float(args["min_val"]), float(args["max_val"])
    return 0.0, 6.0 if node.target == _ATEN.relu6.default else math.inf
