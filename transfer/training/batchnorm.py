"""BatchNorm during fine-tuning: frozen, synchronised, and the same statistics on every process."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(model: nn.Module) -> None:
    """Put every BatchNorm in eval mode: its running statistics stay, its scale and shift still train."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def synchronise(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Replace every BatchNorm below ``model`` by one whose batch statistics are those of all processes.

    The new layers share the parameters and statistics of the old. Returns what :func:`restore` takes.
    """
    from timm.layers import convert_sync_batchnorm  # torch's own drops the activation of timm's BatchNormAct2d

    old = [(m, name, child) for m in model.modules() for name, child in m.named_children() if _is_norm(child)]
    for parent, name, child in old:
        setattr(parent, name, convert_sync_batchnorm(child))
    return old


def restore(old: list[tuple[nn.Module, str, nn.Module]]) -> None:
    """Put the layers back that :func:`synchronise` replaced."""
    for parent, name, child in old:
        setattr(parent, name, child)


def share_buffers(model: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the main one's buffers.

    Each process's BatchNorm sees its own images, so running statistics differ after a step, until
    DistributedDataParallel copies the main process's at the next. The same copy before each evaluation and save
    makes what is tested, what is saved and what training goes on with one thing.
    """
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
