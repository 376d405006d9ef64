"""A pruned network whose layers run on the weights that are left, wherever that is faster."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule

from transfer.export.build import Builder
from transfer.export.channels import Kept
from transfer.export.flow import Flow
from transfer.export.nodes import shape
from transfer.export.sparse.choice import Candidate, Choice
from transfer.export.sparse.fuse import Chain, chains
from transfer.export.sparse.kernel import products
from transfer.export.trace import Traced, trace

_MAX_POOL, _CONTIGUOUS = torch.ops.aten.max_pool2d.default, torch.ops.aten.contiguous.default


class SparseModel(NamedTuple):
    """A network and how its layers run.

    Attributes:
        model: computes what the original computes in eval mode; no gradients.
        choices: one per layer, in the order of the calls.
    """

    model: GraphModule
    choices: list[Choice]


def sparse_model(model: torch.nn.Module, example: Tensor, *, resizable: bool = True) -> SparseModel:
    """Return a network that computes what the model computes in eval mode, its sparse layers without their zeros.

    Each convolution and linear layer takes in the BatchNorm, the sum and the ReLU that follow it. Both forms of it,
    dense and sparse, are then measured on what reaches it from the example, with torch's present number of threads,
    and the faster one stays.

    Args:
        model: on the processor; its pruned weights are zero. Not modified.
        example: images (N, C, …) as the network will see them; batch and image size decide which form is faster.
        resizable: allow other sides too, where the model treats them alike; elsewhere they raise.

    Raises:
        InputError: numba is not installed, or a module cannot be followed; names it.
    """
    products()
    traced = trace(model, example, resizable=resizable)
    made = _rebuilt(traced, f"Sparse{type(model).__name__}")
    with torch.inference_mode():
        made(example)
    candidates = {name: each for name, each in made.named_modules() if isinstance(each, Candidate)}
    for name, each in candidates.items():
        made.set_submodule(name, each.chosen())
    return SparseModel(made, [each.choice() for each in candidates.values()])


def _rebuilt(traced: Traced, name: str) -> GraphModule:
    """Return the traced network with a candidate in place of each chain."""
    flow = Flow(traced.tensors)
    calls = [node for node in traced.graph.nodes if node.op == "call_function"]
    found = list(chains(flow, calls))
    ends, inside = {chain.nodes[-1]: chain for chain in found}, {node for chain in found for node in chain.nodes}
    to = Builder(flow, Kept(flow.atoms))
    to.set(traced.image, to.graph.placeholder("x"))
    for node in calls:
        if node in ends:
            to.set(node, _emit(ends[node], to))
        elif node not in inside:
            to.set(node, _pooled(node, to) if node.target == _MAX_POOL else to.copy(node))
    return to.finish(name, traced.image, traced.guard, traced.results)


def _pooled(node: torch.fx.Node, to: Builder) -> torch.fx.Node:
    """Write a max-pool on channels-last images, on which torch's is several times as fast; the result is as before."""
    x, *rest = node.args
    if not isinstance(x, torch.fx.Node) or len(shape(x)) != 4:
        return to.copy(node)
    last = to.graph.call_function(_CONTIGUOUS, (to.get(x),), {"memory_format": torch.channels_last})
    return to.graph.call_function(_CONTIGUOUS, (to.call(node, (last, *rest), node.kwargs),))


def _emit(chain: Chain, to: Builder) -> torch.fx.Node:
    density = float(chain.masked.count_nonzero()) / chain.masked.numel()
    layer = Candidate(chain.name, chain.fused, density)
    inputs = [to.get(each) for each in (chain.x, chain.other) if each is not None]
    return to.layer(chain.name, layer, chain.nodes[-1], *inputs)
