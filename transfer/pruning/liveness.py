"""Which kept weights still lie on a path from the input to the output, and the report on layers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transfer.pruning.masks import Masks
from transfer.pruning.paths import NoPathError, follow, stand_ins
from transfer.pruning.scaled import Scaled, View
from transfer.pruning.untouched import untouched


def live(model: nn.Module, masks: Mapping[str, Tensor], inputs: Tensor) -> Masks:
    """Return the kept weights that lie on a path of kept weights from an input value to an output value.

    A kept weight off every such path is *disconnected*: it may pass on the constants of biases before it, but nothing
    of the image, or nothing of it reaches the output. All gates count as open. Weights that are not masked (excluded
    ones) connect where they are not 0.

    Args:
        model: nothing of it is changed.
        masks: True = kept.
        inputs: any images of the model's size; only the shape of the first counts.

    Raises:
        NoPathError: the network has an operation without a meaning on paths.
    """
    start = torch.ones_like(inputs[:1])
    views = stand_ins(model, lambda name, w: masks[name].to(w) if name in masks else (w != 0).to(w))
    leaves = {name: views[id(p)].tensor for name, p in model.named_parameters() if name in masks}
    for leaf in leaves.values():
        leaf.requires_grad_()
    with untouched(model), torch.enable_grad():
        reached = follow(model, start, start, views, None, gated=False, summed=True, after=_reached)
        parts = torch.autograd.grad(reached.tensor.sum(), list(leaves.values()), materialize_grads=True)
    return Masks({name: (part > 0) & masks[name].to(part.device) for name, part in zip(leaves, parts, strict=True)})


def report(model: nn.Module, masks: Masks, inputs: Tensor) -> list[dict[str, Any]]:
    """Return the rows of :meth:`Masks.layers` with ``disconnected``, the kept weights on no live path.

    It is None where the network is no sum over paths.
    """
    rows = masks.layers()
    try:
        alive = [int(mask.sum()) for mask in live(model, masks, inputs).values()]
    except NoPathError:
        return [row | {"disconnected": None} for row in rows]
    return [row | {"disconnected": row["kept"] - count} for row, count in zip(rows, alive, strict=True)]


def effective_sparsity(rows: list[dict[str, Any]]) -> float | None:
    """Return the sparsity without the disconnected weights of a report, in [0, 1]; None where they are not known."""
    if any(row["disconnected"] is None for row in rows):
        return None
    return 1 - sum(row["kept"] - row["disconnected"] for row in rows) / sum(row["total"] for row in rows)


def _reached(path: Scaled, _: View) -> Scaled:
    """Keep of a value only whether it is above 0, forward and backward: exact at any depth."""
    return Scaled(_Sign.apply(path.tensor))


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return (g > 0).to(g.dtype)
