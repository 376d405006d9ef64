"""Optimizers and learning-rate schedules from a recipe."""

import math
from typing import Any

import torch
from torch import nn

from checkpoints.errors import InputError
from transfer.recipe import TRUNK, Train

POLY = 0.9  # exponent of DeepLab's poly schedule


def optimizer(model: nn.Module, train: Train) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over all trainable parameters; a trunk with its own rate is the second group.

    Raises:
        InputError: ``train.lr_trunk`` is set and the model has no parameters under ``encoder.``.
    """
    groups = _groups(model, train)
    if train.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=train.lr,
            momentum=train.momentum,
            weight_decay=train.weight_decay,
            nesterov=train.nesterov,
        )
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=train.lr, weight_decay=train.weight_decay)


def _groups(model: nn.Module, train: Train) -> list[dict[str, Any]]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if train.lr_trunk is None:
        return [{"params": list(named.values())}]
    trunk = [p for name, p in named.items() if name.startswith(TRUNK)]
    if not trunk:
        raise InputError(f"train.lr_trunk is for models with a backbone under {TRUNK}, this one has none; leave it out")
    rest = [p for name, p in named.items() if not name.startswith(TRUNK)]
    return [{"params": rest}, {"params": trunk, "lr": train.lr_trunk}]


def factor(train: Train, step: int, steps_per_epoch: int) -> float:
    """Return the multiplier of the learning rates at an optimizer step (from 0), in [0, 1]."""
    epoch = step / steps_per_epoch
    if epoch < train.warmup:
        return (step + 1) / (train.warmup * steps_per_epoch)
    if train.schedule == "milestones":
        return train.gamma ** sum(epoch >= milestone for milestone in train.milestones)
    done = min((epoch - train.warmup) / max(train.epochs - train.warmup, 1), 1.0)
    return 0.5 * (1 + math.cos(math.pi * done)) if train.schedule == "cosine" else (1 - done) ** POLY
