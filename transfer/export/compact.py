"""Remove the channels that a pruned network does not use: an ordinary, smaller network with the same outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from checkpoints.errors import InputError
from transfer.export.build import Builder
from transfer.export.channels import Channels, Kept
from transfer.export.flow import Flow, Step
from transfer.export.nodes import module_of
from transfer.export.steps import Opaque, step
from transfer.export.steps.layer import Layer
from transfer.export.trace import Traced, trace


def compact(model: nn.Module, example: Tensor, *, resizable: bool = True) -> GraphModule:
    """Return a network of plain PyTorch layers that computes what the model computes in eval mode, with fewer channels.

    A channel goes if it holds one constant, or if nothing that reaches an output uses it. Its constant moves into the
    bias of the next layer, where that is exact at every position, borders included; elsewhere the channel stays. The
    layers keep their names.

    Args:
        model: takes one image; its pruned weights are zero. Not modified.
        example: images (N, C, …), N ≥ 1, of the size that the network will see.
        resizable: allow other sides too, where the model treats them alike; elsewhere they raise. Networks that pad
            by the size of the image, such as TensorFlow's EfficientNets, then take minutes to follow.

    Raises:
        InputError: a module cannot be followed, or no layer is separate from operations that mix channels in ways
            that are not understood; names it.
    """
    traced = trace(model, example, resizable=resizable)
    flow, steps, image = _follow(traced)
    _refuse_unknown(steps, Kept(flow.atoms), image, traced, flow)
    kept = _settled(steps, image, traced, flow)
    made = _built(traced, flow, steps, kept, type(model).__name__)
    return made.to(example.device)


def _follow(traced: Traced) -> tuple[Flow, list[Step], Channels]:
    flow = Flow({node: (name, value.cpu()) for node, (name, value) in traced.tensors.items()})
    image = flow.known[traced.image] = flow.fresh(traced.image.meta["val"].shape[1])
    steps = []
    for node in traced.graph.nodes:
        if node.op == "call_function":
            steps.append(made := step(node, flow))
            if made.out is not None:
                flow.known[node] = made.out
    return flow, steps, image


def _pin(kept: Kept, image: Channels, traced: Traced, flow: Flow) -> None:
    """Keep the channels of the image and of the outputs."""
    kept.add(image)
    torch.fx.map_arg(traced.results, lambda node: kept.add(flow.known[node]) if node in flow.known else None)


def _settled(steps: list[Step], image: Channels, traced: Traced, flow: Flow) -> Kept:
    """Return the fewest channels with which every step has what it needs."""
    kept, before = Kept(flow.atoms), -1
    _pin(kept, image, traced, flow)
    while kept.count != before:
        before = kept.count
        for each in reversed(steps):
            each.demand(kept)
    return kept


def _refuse_unknown(steps: list[Step], kept: Kept, image: Channels, traced: Traced, flow: Flow) -> None:
    """Refuse a network of which no layer could ever lose a channel, for want of knowing its operations."""
    unknown = [each for each in steps if isinstance(each, Opaque)]
    _pin(kept, image, traced, flow)
    for each in unknown:
        each.demand(kept)
    layers = [each for each in steps if isinstance(each, Layer)]
    free = [each for each in layers if each.out is not None and not kept.of(each.out).all()]
    if unknown and not free:
        node = unknown[0].node
        raise InputError(
            f"compact does not know {node.target} in {module_of(node)}, and no channel could go around such "
            "operations; give a convolutional network, or keep the weights sparse"
        )


def _built(traced: Traced, flow: Flow, steps: list[Step], kept: Kept, name: str) -> GraphModule:
    to = Builder(flow, kept)
    to.set(traced.image, to.graph.placeholder("x"))
    for each in steps:
        if each.out is None or bool(kept.of(each.out).any()):
            to.set(each.node, each.emit(to))
    return to.finish(f"Compact{name}", traced.image, traced.guard, traced.results)
