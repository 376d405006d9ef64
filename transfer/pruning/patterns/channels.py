"""Which axes of a layer's weight are its output and input channels."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from checkpoints.errors import InputError
from transfer.pruning.tied import place


@dataclass(frozen=True)
class Channels:
    """The channels that a weight connects, in each of the ``groups`` of its convolution."""

    shape: tuple[int, ...]
    groups: int
    transposed: bool = False
    """Whether the input channels come first, as in a transposed convolution."""

    @property
    def inputs(self) -> int:
        """Number of input channels per group."""
        return self.shape[0] // self.groups if self.transposed else self.shape[1]

    @property
    def outputs(self) -> int:
        """Number of output channels per group."""
        return self.shape[1] if self.transposed else self.shape[0] // self.groups

    def split(self, weight: Tensor) -> Tensor:
        """Return the weight (or its scores or mask) as (groups, outputs, inputs, entries of the kernel)."""
        if self.transposed:
            return weight.reshape(self.groups, self.inputs, self.outputs, -1).transpose(1, 2)
        return weight.reshape(self.groups, self.outputs, self.inputs, -1)

    def joined(self, parts: Tensor) -> Tensor:
        """Reverse :meth:`split`."""
        return (parts.transpose(1, 2) if self.transposed else parts).reshape(self.shape)


def channels(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Channels]:
    """Return the channels of prunable weights by parameter name.

    Raises:
        InputError: two layers share a weight, and differ in which of its axes are the input channels.
    """
    found: dict[Hashable, Channels] = {}
    names = {place(weight): name.removesuffix(".weight") for name, weight in weights.items()}
    for layer, module in model.named_modules():
        weight = module._parameters.get("weight") if isinstance(module, (_ConvNd, nn.Linear)) else None
        if weight is None or place(weight) not in names:
            continue
        own = Channels(tuple(weight.shape), getattr(module, "groups", 1), isinstance(module, _ConvTransposeNd))
        if found.setdefault(place(weight), own) != own:
            first = names[place(weight)]
            raise InputError(
                f"layers {first} and {layer} share a weight but not its input channels, so that no pattern suits both; "
                f"exclude them (--prune.exclude {first})"
            )
    return {name: found[place(weight)] for name, weight in weights.items()}
