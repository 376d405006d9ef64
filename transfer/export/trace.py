"""A model as a graph of tensor operations that change nothing in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from checkpoints.errors import InputError, reason
from transfer.export.functional import functional
from transfer.export.sides import SizeCheck, size_check
from transfer.pruning.eval_mode import untouched


@dataclass(frozen=True)
class Traced:
    """What a model computes in eval mode.

    Attributes:
        graph: of ATen operations; the model's tensors are placeholders.
        image: the placeholder of the model's input.
        tensors: the other placeholders' names in the model and values.
        results: the nodes of the outputs, in the structure that the model returns.
        guard: raises if an image has a size for which the graph may not be the model; None if every size is allowed.
    """

    graph: Graph
    image: Node
    tensors: dict[Node, tuple[str, Tensor]]
    results: Any
    guard: SizeCheck | None


class NotTraced(InputError):
    """torch cannot follow the model."""


def exported_program(model: nn.Module, example: Tensor, *, resizable: bool = True) -> Any:
    """Return torch's program of a model in eval mode on images (N, C, …).

    Args:
        model: not modified.
        example: images (N, C, …), N ≥ 1.
        resizable: whether the images' sides may differ from the example's, where the model treats them alike.

    Raises:
        NotTraced: a module cannot be traced; names it.
    """
    with untouched(model), torch.no_grad(), _named_failure(model, resizable):
        return _exported(model, example, resizable)


def _exported(model: nn.Module, example: Tensor, resizable: bool) -> Any:
    if len(example) == 1:
        example = example.expand(2, *example.shape[1:])  # torch takes a batch of one for a fixed size
    free = [0, *range(2, example.dim())] if resizable else [0]
    sizes = dict.fromkeys(free, torch.export.Dim.AUTO)
    return torch.export.export(model, (example,), dynamic_shapes=(sizes,), strict=False)


def trace(model: nn.Module, example: Tensor, *, resizable: bool = True) -> Traced:
    """Trace a model that takes one image.

    Args:
        model: not modified.
        example: images (N, C, …), N ≥ 1.
        resizable: whether the images' sides may differ from the example's, where the model treats them alike.

    Raises:
        InputError: a module cannot be traced; names it.
    """
    with untouched(model), torch.no_grad(), _named_failure(model, resizable):
        exported = _exported(model, example, resizable)
        guard = size_check(exported, example)
        if not functional(exported.graph):
            exported = exported.run_decompositions({})
    signature = exported.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names |= signature.inputs_to_lifted_tensor_constants
    values: dict[str, Any] = {**exported.constants, **exported.state_dict}
    nodes = {node.name: node for node in exported.graph.nodes}
    tensors = {nodes[key]: (name, values[name].detach()) for key, name in names.items() if key in nodes}
    results = _results(exported, nodes)
    return Traced(exported.graph, nodes[signature.user_inputs[0]], tensors, results, guard)


def _results(exported: Any, nodes: dict[str, Node]) -> Any:
    if exported.graph_signature.buffers_to_mutate:
        name = next(iter(exported.graph_signature.buffers_to_mutate.values()))
        raise InputError(f"the model changes its buffer {name} as it runs; give one that does not")
    flat = [nodes.get(name, name) for name in exported.graph_signature.user_outputs]
    return pytree.tree_unflatten(flat, exported.call_spec.out_spec)


@contextmanager
def _named_failure(model: nn.Module, resizable: bool) -> Iterator[None]:
    """Turn any error of the tracer, whose classes are many, into one that names the module it stopped in."""
    inside: list[str] = []
    hooks: list[Any] = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(_enter(inside, name or "(the model)")))
        hooks.append(module.register_forward_hook(lambda *_: inside.pop() and None))
    try:
        yield
    except Exception as error:
        where = inside[-1] if inside else type(model).__name__
        other = "allow one image size only, or " if resizable else ""
        raise NotTraced(
            f"torch.export cannot follow {where} ({type(error).__name__}: {reason(error)}); {other}give a network that "
            "does not branch on values"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _enter(inside: list[str], name: str) -> Callable[..., None]:
    return lambda *_: inside.append(name)
