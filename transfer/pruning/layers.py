"""Find the kept weights on live input-output paths, and report on layers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from transfer.pruning.eval_mode import untouched
from transfer.pruning.masks import Masks
from transfer.pruning.paths.carried import NoPathError
from transfer.pruning.paths.follow import follow, stand_ins
from transfer.pruning.plain import plain
from transfer.pruning.scaled import Scaled
from transfer.pruning.tied import place


def live(model: nn.Module, masks: Mapping[str, Tensor], inputs: Tensor) -> Masks:
    """Return the kept weights that lie on a path of kept weights from an input value to an output value.

    A kept weight off every such path is *disconnected*: it may propagate the biases of earlier layers but nothing of
    the image, or nothing of it reaches the output. All gates count as open. Unmasked (excluded) weights connect where
    they are nonzero.

    Args:
        model: not modified.
        masks: True = kept.
        inputs: images of the model's input size; only the shape of the first is used.

    Raises:
        NoPathError: the network has an operation that is not defined on paths.
    """
    start = torch.ones_like(inputs[:1])
    views = stand_ins(model, lambda name, w: masks[name].to(w) if name in masks else (w != 0).to(w))
    leaves = {name: views[id(p)].tensor for name, p in model.named_parameters() if name in masks}
    for leaf in leaves.values():
        leaf.requires_grad_()
    with untouched(model), plain(), torch.enable_grad():
        reached = follow(model, start, start, views, None, gated=False, summed=True, after=_reached)
        parts = torch.autograd.grad(reached.tensor.sum(), list(leaves.values()), materialize_grads=True)
    return Masks({name: (part > 0) & masks[name].to(part.device) for name, part in zip(leaves, parts, strict=True)})


def report(model: nn.Module, masks: Masks, inputs: Tensor) -> list[dict[str, Any]]:
    """Return the rows of :meth:`Masks.layers` with ``units``, ``dead_units`` and ``disconnected``.

    An output unit is one row of a linear weight or one kernel of a convolution; it is dead when all its weights are
    pruned (Iurada 2024, figure 6). ``disconnected`` counts the kept weights on no live path; None if the network is not
    a sum over paths.

    Raises:
        InputError: a mask matches no parameter of the model by name and shape.
    """
    owners = {  # _parameters skips computed weights: in training mode, reading one may update its state
        place(weight): m
        for m in reversed(list(model.modules()))
        if isinstance(m, (_ConvNd, nn.Linear)) and (weight := m._parameters.get("weight")) is not None
    }
    parameters = masks.match(model)
    try:
        alive: Masks | None = live(model, masks, inputs)
    except NoPathError:
        alive = None
    rows = []
    for row, (name, mask) in zip(masks.layers(), masks.items(), strict=True):
        used = _units(owners.get(place(parameters[name])), mask)
        off = None if alive is None else row["kept"] - int(alive[name].sum())
        rows.append(row | {"units": len(used), "dead_units": int((~used).sum()), "disconnected": off})
    return rows


def _units(layer: nn.Module | None, mask: Tensor) -> Tensor:
    """Return, per output unit, whether it has a kept weight."""
    if isinstance(layer, _ConvTransposeNd):  # (in, out / groups, …): a group's outputs depend on its own inputs only
        mask = mask.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)
    return mask.flatten(1).any(1)


def effective_sparsity(rows: list[dict[str, Any]]) -> float | None:
    """Return the sparsity if disconnected weights count as pruned, in [0, 1]; None if they are unknown."""
    if any(row["disconnected"] is None for row in rows):
        return None
    return 1 - sum(row["kept"] - row["disconnected"] for row in rows) / sum(row["total"] for row in rows)


def _reached(path: Scaled) -> Scaled:
    """Reduce a value to whether it is positive, forward and backward: exact at any depth."""
    return Scaled(_Sign.apply(path.tensor))


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return (g > 0).to(g.dtype)
