"""Operations on each channel by itself over its positions: pooling, interpolation, padding, cropping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from transfer.export.build import Builder
from transfer.export.channels import Channels
from transfer.export.flow import Flow, Step
from transfer.export.nodes import arguments, shape
from transfer.export.steps.modules import each

_ATEN = torch.ops.aten
Stays = Callable[[dict[str, Any], Channels], Tensor]
"""From the arguments and the input's channels: (C,) bool, where a constant stays the same constant."""


def _always(args: dict[str, Any], x: Channels) -> Tensor:
    return torch.ones_like(x.constant)


def _zero(args: dict[str, Any], x: Channels) -> Tensor:
    return x.value == 0


def _largest(args: dict[str, Any], x: Channels) -> Tensor:
    """Max-pooling pads with -inf; only without dilation does every window surely meet the image."""
    adjacent = set(each(args["dilation"], 1)) == {1}
    return torch.full_like(x.constant, adjacent)


def _average(args: dict[str, Any], x: Channels) -> Tensor:
    padded = args["count_include_pad"] and set(each(args["padding"], 1)) != {0}
    exact = args.get("divisor_override") is None and not padded
    return _always(args, x) if exact else _zero(args, x)


def _padded(args: dict[str, Any], x: Channels) -> Tensor:
    mode, value = args.get("mode", "constant"), args["value"]
    return _always(args, x) if mode != "constant" else x.value == float(value or 0)


_STAYS: dict[Any, Stays] = {
    **dict.fromkeys((_ATEN.max_pool1d, _ATEN.max_pool2d, _ATEN.max_pool3d), _largest),
    **dict.fromkeys((_ATEN.avg_pool1d, _ATEN.avg_pool2d, _ATEN.avg_pool3d), _average),
    **dict.fromkeys((_ATEN.adaptive_avg_pool1d, _ATEN.adaptive_avg_pool2d, _ATEN.adaptive_avg_pool3d), _always),
    **dict.fromkeys((_ATEN._adaptive_avg_pool2d, _ATEN._adaptive_avg_pool3d), _always),
    **dict.fromkeys((_ATEN.upsample_nearest1d, _ATEN.upsample_nearest2d, _ATEN.upsample_nearest3d), _always),
    **dict.fromkeys((_ATEN._upsample_nearest_exact1d, _ATEN._upsample_nearest_exact2d), _always),
    **dict.fromkeys((_ATEN.upsample_linear1d, _ATEN.upsample_bilinear2d, _ATEN.upsample_trilinear3d), _always),
    **dict.fromkeys((_ATEN.upsample_bicubic2d, _ATEN._upsample_bilinear2d_aa, _ATEN._upsample_bicubic2d_aa), _always),
    **dict.fromkeys((_ATEN.reflection_pad1d, _ATEN.reflection_pad2d, _ATEN.replication_pad2d), _always),
    **dict.fromkeys((_ATEN.constant_pad_nd, _ATEN.pad), _padded),
    **dict.fromkeys((_ATEN.mean, _ATEN.amax, _ATEN.amin, _ATEN.slice, _ATEN.select), _always),
    _ATEN.sum: _zero,
}


class Spatial(Step):
    """An operation copied as it is, on fewer channels."""

    def emit(self, to: Builder) -> Node:
        """Copy it."""
        return to.copy(self.node)


def spatial(node: Node, flow: Flow) -> Step | None:
    """Return the step of an operation that leaves the channels apart, in place and in number; else None."""
    stays = _STAYS.get(getattr(node.target, "overloadpacket", None))
    if stays is None or len(inputs := node.all_input_nodes) < 1 or node.args[0] is not inputs[0]:
        return None
    x = inputs[0]
    if x not in flow.known or any(each in flow.known or each in flow.static for each in inputs[1:]):
        return None
    args = arguments(node)
    if not _apart(node, x, args):
        return None
    return Spatial(node, flow.known[x].only(stays(args, flow.known[x])))


def _apart(node: Node, x: Node, args: dict[str, Any]) -> bool:
    """Return whether the operation is along dimensions after the second only."""
    dims = len(shape(x))
    if len(shape(node)) < 2 or shape(node)[1] != shape(x)[1] or args.get("dtype") is not None:
        return False
    if "pad" in args:
        return len(args["pad"]) <= 2 * (dims - 2)
    along = args.get("dim", [2]) or [0]
    return dims > 2 and all(dim % dims > 1 for dim in ([along] if isinstance(along, int) else along))
