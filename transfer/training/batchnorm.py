"""BatchNorm during fine-tuning: freezing, synchronisation, and identical statistics on every process."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(model: nn.Module) -> None:
    """Put every BatchNorm in eval mode: its running statistics are fixed, its scale and shift still train."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def synchronise(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Replace every BatchNorm below ``model`` by one with batch statistics over all processes.

    The new layers share the parameters and statistics of the old ones.

    Returns:
        The replaced layers, for :func:`restore`.
    """
    from timm.layers import convert_sync_batchnorm  # torch's version drops the activation of timm's BatchNormAct2d

    old = [(m, name, child) for m in model.modules() for name, child in m.named_children() if _is_norm(child)]
    for parent, name, child in old:
        setattr(parent, name, convert_sync_batchnorm(child))
    return old


def restore(old: list[tuple[nn.Module, str, nn.Module]]) -> None:
    """Put back the layers that :func:`synchronise` replaced."""
    for parent, name, child in old:
        setattr(parent, name, child)


def share_buffers(model: nn.Module, accelerator: Accelerator) -> None:
    """Broadcast the main process's buffers to every process.

    BatchNorm sees different images on each process, so running statistics differ after a step, until
    DistributedDataParallel broadcasts the main process's at the next step. Broadcasting before each evaluation and save
    makes the tested, the saved and the further trained model identical.
    """
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
