"""The forms in which a pruned model can run, to be measured side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.export.compact import compact
from transfer.export.semi_structured import semi_structured
from transfer.export.sparse import sparse_model
from transfer.pruning.prunable import prunable

Variant = nn.Module | str
"""A model; or why there is none, in one line."""


def variants(model: nn.Module, images: Tensor) -> Iterator[tuple[str, Variant]]:
    """Yield name and model of each form for images (N, C, H, W), which decide what is fast; ``masked`` is the model.

    On a GPU the images and every form are in half precision, and a 2:4 form stands in place of the sparse ones, which
    are for the CPU.
    """
    if images.device.type == "cuda":
        yield from _on_gpu(model, images)
        return
    yield "dense", filled(model)
    yield "masked", model
    small = _tried(lambda: compact(model, images))
    yield "compact", small
    yield "sparse", _tried(lambda: sparse_model(model, images).model)
    if isinstance(small, nn.Module):
        yield "compact, sparse", _tried(lambda: sparse_model(small, images).model)


def filled(model: nn.Module) -> nn.Module:
    """Return a copy with random numbers in place of the zeros: the unpruned model, as far as time goes."""
    model, source = copy.deepcopy(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in prunable(model).values():
            kept = weight[weight != 0]
            spread = float(kept.float().square().mean().sqrt()) if len(kept) else 1.0
            drawn = torch.randn(weight.shape, generator=source).to(weight) * spread
            weight.copy_(torch.where(weight == 0, drawn, weight))
    return model


def _on_gpu(model: nn.Module, images: Tensor) -> Iterator[tuple[str, Variant]]:
    half = copy.deepcopy(model).to(images.device, torch.float16)
    yield "dense", filled(half)
    yield "masked", half
    yield "compact", _tried(lambda: compact(copy.deepcopy(model).to(images.device), images.float()).half())
    yield "2:4", _tried(lambda: semi_structured(half))


def _tried(make: Callable[[], nn.Module]) -> Variant:
    try:
        return make()
    except InputError as error:
        return str(error)
