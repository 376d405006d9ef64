"""Multiply-adds of a network on one image, dense and with the kept weights only.

Unstructured sparsity does not speed up dense kernels: the kept count is the work left for hardware or code that
exploits sparse weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from transfer.pruning.eval_mode import untouched
from transfer.pruning.masks import kept
from transfer.pruning.prunable import prunable
from transfer.pruning.tied import place


@dataclass(frozen=True)
class LayerCount:
    """Multiply-adds of one weight tensor: with all its entries, and with the kept ones."""

    dense: int
    kept: int


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds on one image (FLOPs are twice as many), by parameter name and in total."""

    layers: dict[str, LayerCount]

    @property
    def dense(self) -> int:
        """Total with every weight."""
        return sum(layer.dense for layer in self.layers.values())

    @property
    def kept(self) -> int:
        """Total with the kept weights."""
        return sum(layer.kept for layer in self.layers.values())


def multiply_adds(
    model: nn.Module, input_size: tuple[int, int, int], masks: Mapping[str, Tensor] | None = None
) -> MultiplyAdds:
    """Count the multiply-adds of the Conv and Linear modules; the model is not modified.

    A convolution weight counts once per output position (per input position if transposed), padding included; a Linear
    weight once per input vector; a reused module counts each time. The output projection of nn.MultiheadAttention
    counts as a Linear. Biases, norms, pooling and products of data with data (attention) are not counted.

    Args:
        model: any network that takes one image.
        input_size: (C, H, W).
        masks: True = kept; a prunable weight without a mask is kept entirely, None keeps all.

    Raises:
        InputError: a mask does not fit the model.
    """
    weights = prunable(model)
    names = {place(weight): name for name, weight in weights.items()}
    uses = dict.fromkeys(weights, 0)
    layers = [m for m in model.modules() if isinstance(m, (_ConvNd, nn.Linear, nn.MultiheadAttention))]
    masks = kept({name: weight.detach() for name, weight in weights.items()}, masks)
    handles = [layer.register_forward_hook(_counter(names[place(_weight(layer))], uses)) for layer in layers]
    try:
        with untouched(model), torch.no_grad():
            model(next(iter(weights.values())).new_zeros(1, *input_size))
    finally:
        for handle in handles:
            handle.remove()
    return MultiplyAdds(
        {name: LayerCount(uses[name] * w.numel(), uses[name] * int(masks[name].sum())) for name, w in weights.items()}
    )


def _weight(layer: _ConvNd | nn.Linear | nn.MultiheadAttention) -> Tensor:
    """Return the layer's weight; attention uses that of its output projection without calling it."""
    return layer.out_proj.weight if isinstance(layer, nn.MultiheadAttention) else layer.weight


def _counter(name: str, uses: dict[str, int]) -> Callable[[nn.Module, Any, Any], None]:
    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        uses[name] += _positions(module, inputs, output)

    return count


def _positions(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> int:
    """Return how often one call of the module uses each weight."""
    if isinstance(module, nn.MultiheadAttention):
        return output[0].numel() // module.embed_dim
    if isinstance(module, _ConvTransposeNd):
        return inputs[0].numel() // module.in_channels
    if isinstance(module, _ConvNd):
        return output.numel() // module.out_channels
    assert isinstance(module, nn.Linear)
    return output.numel() // module.out_features
