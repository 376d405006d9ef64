"""BatchNorm in eval mode: a scale and a shift per channel."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, nn
from torch.fx import Node

from transfer.export.build import Builder
from transfer.export.channels import Channels
from transfer.export.flow import Flow, Step
from transfer.export.nodes import arguments, shape
from transfer.export.steps.modules import fill, path

_FUNCTIONAL = torch.ops.aten._native_batch_norm_legit_no_training.default
_PLAIN = torch.ops.aten.batch_norm.default


class Norm(Step):
    """Normalization with stored statistics."""

    def __init__(self, node: Node, flow: Flow) -> None:
        args = arguments(node)
        self._input: Node = args["input"]
        self._eps: float = args["eps"]
        self._mean, self._var = flow.static[args["running_mean"]][1], flow.static[args["running_var"]][1]
        self._scale, self._shift = flow.value(args["weight"]), flow.value(args["bias"])
        owner = args["weight"] if args["weight"] is not None else args["running_mean"]
        self._name = path(node, owner, flow).removesuffix(".running_mean")
        super().__init__(node, self._constants(flow.known[self._input]))

    def emit(self, to: Builder) -> Node:
        """Write the layer with the kept channels."""
        assert self.out is not None
        rows = to.kept.places(self.out)
        kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape(self._input))]
        layer = kind(len(rows), eps=self._eps, affine=self._scale is not None)
        layer.running_mean, layer.running_var = self._mean[rows].clone(), self._var[rows].clone()
        if self._scale is not None:
            fill(layer, self._scale[rows], None if self._shift is None else self._shift[rows])
        return to.layer(self._name, layer.eval(), self.node, to.get(self._input))

    def _constants(self, x: Channels) -> Channels:
        value = (x.value - self._mean.double()) / (self._var.double() + self._eps).sqrt()
        value = value if self._scale is None else value * self._scale.double()
        value = value if self._shift is None else value + self._shift.double()
        stopped = torch.zeros_like(x.constant) if self._scale is None else self._scale == 0
        shift = torch.zeros_like(value) if self._shift is None else self._shift.double()
        return x.with_constants(x.constant | stopped, torch.where(stopped, shift, value))


class First(Step):
    """The first of an operation's results, the only one that a BatchNorm has in eval mode."""

    def emit(self, to: Builder) -> Node:
        """Write nothing new."""
        return to.get(self.node.all_input_nodes[0])


def norm(node: Node, flow: Flow) -> Step | None:
    """Return the step of a BatchNorm in eval mode or of its result; None for anything else."""
    if node.target is operator.getitem and node.args[1] == 0 and _is_norm(node.all_input_nodes[0], flow):
        return First(node, flow.known[node.all_input_nodes[0]])
    return Norm(node, flow) if _is_norm(node, flow) else None


def _is_norm(node: Node, flow: Flow) -> bool:
    if node.target not in (_FUNCTIONAL, _PLAIN):
        return False
    args = arguments(node)
    owned = [args[name] for name in ("running_mean", "running_var", "weight", "bias")]
    if args.get("training") or args["input"] not in flow.known or None in owned[:2]:
        return False
    paired = (owned[2] is None) <= (owned[3] is None)
    return paired and all(isinstance(flow.value(each), Tensor) for each in owned if each is not None)
