"""What compacting saves, layer by layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from transfer.analysis.flops import multiply_adds
from transfer.pruning.prunable import prunable


def savings(before: nn.Module, after: nn.Module, input_size: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Return one row per weight of the model: ``name``, ``weights`` and ``multiply_adds`` before and after.

    A layer that is gone has 0 after. Multiply-adds are of one image of ``input_size`` (C, H, W); FLOPs are twice as
    many. The last row, ``total``, counts every parameter, biases and norms included.
    """
    old, new = (multiply_adds(model, input_size).layers for model in (before, after))
    sizes = [{name: weight.numel() for name, weight in prunable(model).items()} for model in (before, after)]
    rows = [
        _row(
            name,
            (sizes[0].get(name, 0), sizes[1].get(name, 0)),
            tuple(x[name].dense if name in x else 0 for x in (old, new)),
        )
        for name in dict.fromkeys([*old, *new])
    ]
    parameters = tuple(sum(p.numel() for p in model.parameters()) for model in (before, after))
    work = tuple(sum(layer.dense for layer in x.values()) for x in (old, new))
    return [*rows, _row("total", parameters, work)]


def _row(name: str, weights: tuple[int, ...], work: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "weights": list(weights), "multiply_adds": list(work)}
