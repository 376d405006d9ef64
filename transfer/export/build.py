"""Writes the smaller network as a graph module with ordinary layers under the names they had."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node, map_arg

from transfer.export.channels import Kept
from transfer.export.flow import Flow


class Builder:
    """A graph in the making.

    Attributes:
        graph: what has been written.
        kept: the channels that stay.
    """

    def __init__(self, flow: Flow, kept: Kept) -> None:
        self.graph, self.kept = Graph(), kept
        self._flow, self._root = flow, nn.Module()
        self._made: dict[Node, Node] = {}
        self._names: dict[str, int] = {}

    def set(self, old: Node, new: Node | None) -> None:
        """Note what stands for a node of the traced graph."""
        if new is not None:
            self._made[old] = new

    def has(self, old: Node) -> bool:
        """Return whether something stands for a node; nothing does if all its channels are gone."""
        return old in self._made

    def get(self, old: Node) -> Node:
        """Return what stands for a node; a tensor of the model is entered under its name on first use."""
        if old not in self._made:
            name, value = self._flow.static[old]
            self._made[old] = self.tensor(name, value)
        return self._made[old]

    def copy(self, node: Node) -> Node:
        """Write an operation as it is, on what stands for its arguments."""
        args, kwargs = map_arg(node.args, self.get), map_arg(node.kwargs, self.get)
        return self.call(node, args, kwargs)

    def call(self, node: Node, args: Any, kwargs: Any = None) -> Node:
        """Write a node's operation on other arguments."""
        return self.graph.create_node("call_function", node.target, tuple(args), dict(kwargs or {}), node.name)

    def tensor(self, name: str, value: Tensor) -> Node:
        """Enter a tensor that no layer owns, as a buffer."""
        path = self._free(name)
        parent, _, leaf = path.rpartition(".")
        self._parent(parent).register_buffer(leaf, value.detach().clone())
        return self.graph.get_attr(path)

    def layer(self, name: str, layer: nn.Module, node: Node, *inputs: Node) -> Node:
        """Enter a layer and write its call; one that is called again unchanged is entered once."""
        path = self._entered(name, layer) or self._free(name)
        parent, _, leaf = path.rpartition(".")
        self._parent(parent).add_module(leaf, layer)
        return self.graph.create_node("call_module", path, inputs, {}, node.name)

    def finish(self, name: str, image: Node, guard: nn.Module | None, results: Any) -> GraphModule:
        """Return the network."""
        if guard is not None:
            self._root.add_module("check_size", guard)
            with self.graph.inserting_after(self.get(image)):
                self.graph.call_module("check_size", (self.get(image),))
        self.graph.output(map_arg(results, self.get))
        self.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or node.target == "check_size")
        self.graph.lint()
        made = GraphModule(self._root, self.graph, class_name=name)
        made.delete_all_unused_submodules()
        return made.eval()

    def _entered(self, name: str, layer: nn.Module) -> str | None:
        paths = [name, *(f"{name}_{i}" for i in range(1, self._names.get(name, 0)))]
        for path in paths if name in self._names else []:
            if _equal(self._root.get_submodule(path), layer):
                return path
        return None

    def _free(self, name: str) -> str:
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count - 1}"

    def _parent(self, path: str) -> nn.Module:
        at = self._root
        for part in path.split(".") if path else []:
            if part not in at._modules:
                at.add_module(part, nn.Module())
            at = at.get_submodule(part)
        return at


def _equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return repr(one) == repr(other) and a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
