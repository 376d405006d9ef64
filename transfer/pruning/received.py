"""Check that operations receive the weights that are masked.

A layer may transform its weight in the forward: standardised weights (timm's ``StdConv2d``) are zero nowhere, whatever
the mask. So one forward is run with most entries of every weight at zero, and the tensor that reaches each convolution
or product with the images must have as many zeros. Casts, views, padding and scaling keep them.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from checkpoints.errors import InputError
from transfer.pruning.eval_mode import untouched
from transfer.pruning.paths import operations as ops
from transfer.pruning.paths.carried import tensors_in
from transfer.pruning.problem import Batches, checked
from transfer.pruning.tied import place, with_twins

_FEW = 2  # images; a BatchNorm that is always in training mode needs more than one
_DENSITY = 1 / 16
_GOLDEN = 0.6180339887498949  # its multiples modulo 1 are spread evenly over any range and stride
_IMAGES = ""  # origin of a tensor that depends on the images; other origins are weight names


def check_received(model: nn.Module, weights: Mapping[str, Tensor], batches: Batches | None, seed: int = 0) -> None:
    """Reject weights that the forward transforms before use, so that a mask would have no effect.

    Costs one forward of two images. If the batches yield none that the model accepts, each layer is called alone.

    Args:
        model: not modified.
        weights: the prunable ones by name.
        batches: as for ``prune``; only the first is used.
        seed: seeds the model's random draws.

    Raises:
        InputError: there are such weights; names the first layer.
    """
    with untouched(model, seed), torch.no_grad():
        watch = _Watch({name: _sparse(w.detach()) for name, w in weights.items()})
        if not _forward(model, batches, watch):
            _call_layers(model, weights, watch)
    if watch.computed:
        of = watch.computed[0].removesuffix(".weight")
        kind = type(model.get_submodule(watch.computed[0].rpartition(".")[0])).__name__
        more = f", as of {len(watch.computed) - 1} more," if len(watch.computed) > 1 else ""
        raise InputError(
            f"the weight of {of} ({kind}){more} is computed anew in the forward: where the parameter is 0, what its "
            f"operation receives is not; exclude such layers (exclude=[{of!r}]), put the computed values into plain "
            "ones, or take a model without them"
        )


class _Watch(TorchFunctionMode):
    """Track weights to the operations that combine them with the images."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = weights
        self.computed: list[str] = []
        self.nonzero = {name: int(w.count_nonzero()) for name, w in weights.items()}
        self.origins: Any = WeakTensorKeyDictionary()
        for name, w in weights.items():
            self.origins[w] = {name}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(tensors_in([args, kwargs]))
        origin = set().union(*(self.origins.get(x, ()) for x in given))
        if func in ops.WEIGHTED:
            self._look(kwargs.get("weight", args[1] if len(args) > 1 else None))
            origin = {_IMAGES}
        elif _IMAGES in origin:
            if func in ops.PRODUCTS:
                for x in given:
                    self._look(x)
            origin = {_IMAGES}
        out = func(*args, **kwargs)
        if origin:
            for x in tensors_in([out]):
                self.origins[x] = origin
        return out

    def _look(self, received: Any) -> None:
        """Record a weight whose zeros are missing in the tensor derived from it."""
        origin = self.origins.get(received, ()) if isinstance(received, Tensor) else ()
        if not origin or _IMAGES in origin:
            return
        names = [name for name in self.weights if name in origin]
        entries = sum(self.weights[name].numel() for name in names)
        most = 2 * sum(self.nonzero[name] for name in names) * max(1.0, received.numel() / entries)
        if int((received.abs() > 0).sum()) > most:  # nan, e.g. from normalising an all-zero row, counts as 0
            self.computed += [name for name in names[:1] if name not in self.computed]


def _sparse(weight: Tensor) -> Tensor:
    """Return the weight with few entries left, none of them 0."""
    places = torch.arange(weight.numel(), dtype=torch.float64, device=weight.device)
    kept = (places.mul_(_GOLDEN).remainder_(1) < _DENSITY).view(weight.shape)
    return torch.where(weight == 0, 1, weight).masked_fill_(~kept, 0)


def _forward(model: nn.Module, batches: Batches | None, watch: _Watch) -> bool:
    """Run the model on the first images; return whether that succeeded."""
    if batches is None or isinstance(batches, Iterator):
        return False
    try:
        inputs = checked(next(iter(batches)))[0][:_FEW]
        watch.origins[inputs] = {_IMAGES}
        with watch:
            functional_call(model, with_twins(model, watch.weights), (inputs,))
    except Exception:  # methods that need the forward raise their own error
        return False
    return True


def _call_layers(model: nn.Module, weights: Mapping[str, Tensor], watch: _Watch) -> None:
    """Call every layer alone, on ones."""
    names = {place(w): name for name, w in weights.items()}
    for layer in model.modules():
        if not isinstance(layer, (_ConvNd, nn.Linear)):
            continue
        weight = layer._parameters.get("weight")
        name = None if weight is None else names.get(place(weight))
        if name is None:
            continue
        if isinstance(layer, nn.Linear):
            shape = [layer.in_features]
        else:
            sides = zip(layer.kernel_size, layer.dilation, strict=True)
            shape = [layer.in_channels, *(2 * (side - 1) * spread + 2 for side, spread in sides)]
        inputs = watch.weights[name].new_ones(_FEW, *shape)
        watch.origins[inputs] = {_IMAGES}
        with suppress(Exception), watch:  # the layer may need other inputs
            functional_call(layer, {"weight": watch.weights[name]}, (inputs,))
