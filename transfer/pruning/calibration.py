"""Estimate BatchNorm's running statistics anew, from real batches."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from checkpoints.errors import InputError
from transfer.pruning.eval_mode import enough_samples, untouched
from transfer.pruning.problem import checked


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Any]) -> int:
    """Replace the running statistics of every BatchNorm by the mean over batches of the batch statistics; in place.

    The mean counts each batch once and takes the unbiased variance, as PyTorch does with ``momentum=None``. All
    else runs in eval mode, dropout too; parameters, other buffers, modes and momentum stay. A layer that the batches do
    not reach keeps its statistics, and so do all layers when something fails.

    Args:
        model: any model; one without BatchNorm is left alone.
        batches: inputs (N, 3, H, W), or pairs of them and targets, on the model's device; walked once.

    Returns:
        The number of layers with new statistics.

    Raises:
        InputError: the batches yield nothing, or one that cannot be used or is too small.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    try:
        with untouched(model):
            found = _estimated(model, norms, batches)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    for norm, statistics in found.items():
        for buffer, new in zip(norm.buffers(recurse=False), statistics, strict=True):
            buffer.copy_(new)
    return len(found)


def _estimated(model: nn.Module, norms: list[_BatchNorm], batches: Iterable[Any]) -> dict[_BatchNorm, list[Tensor]]:
    """Return the new buffers of the layers that the batches reach; those of the model have moved."""
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    seen = 0
    for seen, batch in enumerate(batches, start=1):  # noqa: B007
        with enough_samples(
            "recalibrating needs more than one image a batch here; change prune.batch or the number of images in the "
            "pruning set"
        ):
            model(checked(batch)[0])
    if not seen:
        raise InputError("the batches yield nothing; give at least one image")
    return {n: [b.clone() for b in n.buffers(recurse=False)] for n in norms if n.num_batches_tracked}
