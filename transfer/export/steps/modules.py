"""Ordinary layers around given tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from transfer.export.flow import Flow
from transfer.export.nodes import arguments, module_of

_ATEN = torch.ops.aten
_LINEAR = _ATEN.linear.default
CONVOLUTIONS = {
    overload for packet in (_ATEN.conv1d, _ATEN.conv2d, _ATEN.conv3d) for overload in (packet.default, packet.padding)
}
_TRANSPOSED = (_ATEN.conv_transpose1d.default, _ATEN.conv_transpose2d.input, _ATEN.conv_transpose3d.input)


def path(node: Node, weight: Node, flow: Flow) -> str:
    """Return the name of the module that owns a weight, else that of the module that computes with it."""
    name = flow.static[weight][0]
    if name.endswith(".weight"):
        return name.removesuffix(".weight")
    inside = module_of(node)
    return inside if inside != "(the model)" else name


def fill(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """Give a layer its tensors."""
    layer.register_parameter("weight", _own(weight))
    layer.register_parameter("bias", None if bias is None else _own(bias.to(weight.dtype)))
    return layer


def convolution(weight: Tensor, bias: Tensor | None, groups: int, args: dict[str, Any]) -> nn.Module:
    """Return a convolution of as many dimensions as the weight (O, I / groups, *window) has."""
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[weight.dim() - 3]
    window = tuple(weight.shape[2:])
    padding = args["padding"] if isinstance(args["padding"], str) else each(args["padding"], len(window))
    layer = kind(
        weight.shape[1] * groups, weight.shape[0], window, each(args["stride"], len(window)),  # type: ignore[arg-type]
        padding, each(args["dilation"], len(window)), groups, bias is not None, device="meta",  # type: ignore[arg-type]
    )  # fmt: skip
    return fill(layer, weight, bias)


def dense(weight: Tensor, bias: Tensor | None) -> nn.Module:
    """Return a linear layer with a weight (O, I)."""
    return fill(nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta"), weight, bias)


def transposed(weight: Tensor, bias: Tensor | None, args: dict[str, Any]) -> nn.Module:
    """Return a transposed convolution with a weight (I, O / groups, *window)."""
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[weight.dim() - 3]
    window, groups = tuple(weight.shape[2:]), args["groups"]
    stride, padding, more, dilation = (
        each(args[name], len(window)) for name in ("stride", "padding", "output_padding", "dilation")
    )
    layer = kind(
        weight.shape[0], weight.shape[1] * groups, window, stride, padding, more, groups,  # type: ignore[arg-type]
        bias is not None, dilation, device="meta",  # type: ignore[arg-type]
    )  # fmt: skip
    return fill(layer, weight, bias)


def whole(node: Node, flow: Flow) -> tuple[str, nn.Module] | None:
    """Return the name and the whole layer of an operation with a weight that is known, of any shapes; else None."""
    if node.target not in (_LINEAR, *CONVOLUTIONS, *_TRANSPOSED):
        return None
    args = arguments(node)
    weight, bias = flow.value(args["weight"]), flow.value(args["bias"])
    if weight is None or args["input"] in flow.static or (args["bias"] is not None and bias is None):
        return None
    return path(node, args["weight"], flow), _whole(node, weight, bias, args)


def _whole(node: Node, weight: Tensor, bias: Tensor | None, args: dict[str, Any]) -> nn.Module:
    if node.target == _LINEAR:
        return dense(weight, bias)
    if node.target in _TRANSPOSED:
        return transposed(weight, bias, args)
    return convolution(weight, bias, args["groups"], args)


def each(value: Any, dims: int) -> tuple[int, ...]:
    """Return one number per dimension, from a number or a list."""
    numbers = [value] if isinstance(value, int) else list(value)
    return tuple(numbers * dims if len(numbers) == 1 else numbers)


def _own(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone(), requires_grad=value.is_floating_point())
