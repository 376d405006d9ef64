"""Estimate BatchNorm's running statistics anew, from real batches."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from checkpoints.errors import InputError


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
    """Replace the running statistics of every BatchNorm by the mean over batches of the batch statistics; in place.

    The mean counts each batch once and takes the unbiased variance, as PyTorch does with ``momentum=None``. All
    else runs in eval mode, dropout too; parameters, modes and momentum stay. A layer that the batches do not
    reach keeps its statistics, and so do all layers when something fails.

    Args:
        model: any model; one without BatchNorm is left alone.
        batches: pairs of inputs (N, 3, H, W) and targets, on the model's device; walked once.

    Returns:
        The number of layers with new statistics.

    Raises:
        InputError: the batches yield nothing.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        return 0
    modes = [(module, module.training) for module in model.modules()]
    before = [(norm, norm.momentum, [b.clone() for b in norm.buffers(recurse=False)]) for norm in norms]
    reached = 0
    try:
        _estimate(model, norms, batches)
        reached = sum(bool(norm.num_batches_tracked) for norm in norms)
    finally:
        for module, training in modes:
            module.training = training
        for norm, momentum, buffers in before:
            norm.momentum = momentum
            if not reached or not norm.num_batches_tracked:
                for buffer, old in zip(norm.buffers(recurse=False), buffers, strict=True):
                    buffer.copy_(old)
    return reached


def _estimate(model: nn.Module, norms: list[_BatchNorm], batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    seen = 0
    for inputs, _ in batches:
        if len(inputs):
            try:
                model(inputs)
            except ValueError as error:  # BatchNorm: "Expected more than 1 value per channel"
                raise InputError(
                    f"recalibrating needs more than one image a batch here ({error}); change prune.batch or the number "
                    "of images in the pruning set"
                ) from error
            seen += 1
    if not seen:
        raise InputError("the batches yield nothing; give at least one image")
