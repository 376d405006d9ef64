"""Re-estimate BatchNorm running statistics from real batches."""

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
    """Replace the running statistics of every BatchNorm by the average of the batch statistics, in place.

    Batches are weighted equally and variances are unbiased, as in PyTorch with ``momentum=None``. Everything else,
    dropout included, runs in eval mode; parameters, other buffers, modes and momentum are unchanged. A layer that no
    batch reaches keeps its statistics, and so do all layers on failure.

    Args:
        model: any model; one without BatchNorm is left alone.
        batches: inputs (N, 3, H, W), or (inputs, targets) pairs, on the model's device; iterated once.

    Returns:
        The number of layers with new statistics.

    Raises:
        InputError: there are no batches, or one is unusable or too small.
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
    """Return the new buffers of the layers that the batches reach; the model's own buffers are modified."""
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    seen = 0
    for seen, batch in enumerate(batches, start=1):  # noqa: B007
        with enough_samples(
            "recalibrating needs more than one image per batch here; change prune.batch or the number of images in the "
            "pruning set"
        ):
            model(checked(batch)[0])
    if not seen:
        raise InputError("the batches yield nothing; give at least one image")
    return {n: [b.clone() for b in n.buffers(recurse=False)] for n in norms if n.num_batches_tracked}
