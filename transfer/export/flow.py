"""Carries what is known of the channels from the image to the outputs, and needs back again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor
from torch.fx import Node

from transfer.export.channels import Atoms, Channels, Kept

if TYPE_CHECKING:
    from transfer.export.build import Builder


class Step(ABC):
    """One operation of the graph.

    Attributes:
        node: the operation.
        out: its result's channels; None if it has none along dimension 1.
    """

    def __init__(self, node: Node, out: Channels | None) -> None:
        self.node, self.out = node, out

    def demand(self, kept: Kept) -> None:  # noqa: B027  (most operations need what is tied to their results)
        """Keep the channels that the kept part of the result needs."""

    @abstractmethod
    def emit(self, to: Builder) -> Node | None:
        """Write the operation on the kept channels."""


class Flow:
    """What is known so far.

    Attributes:
        atoms: of all channels.
        known: channels by node, for tensors that depend on the image and have channels along dimension 1.
        static: name and value of the tensors that do not depend on the image.
    """

    def __init__(self, tensors: dict[Node, tuple[str, Tensor]]) -> None:
        self.atoms = Atoms()
        self.known: dict[Node, Channels] = {}
        self.static: dict[Node, tuple[str, Tensor]] = dict(tensors)

    def fresh(self, count: int) -> Channels:
        """Return new channels of which nothing is known."""
        return Channels.varying(self.atoms.fresh(count))

    def value(self, node: object) -> Tensor | None:
        """Return the value of a tensor that does not depend on the image, else None."""
        return self.static[node][1] if isinstance(node, Node) and node in self.static else None
