"""Optimizers and learning-rate schedules from a recipe."""

import math

import torch
from torch import nn

from transfer.recipe import Train


def optimizer(model: nn.Module, train: Train) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over all parameters that train."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if train.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=train.lr,
            momentum=train.momentum,
            weight_decay=train.weight_decay,
            nesterov=train.nesterov,
        )
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=train.lr, weight_decay=train.weight_decay)


def factor(train: Train, step: int, steps_per_epoch: int) -> float:
    """Return what the learning rate is multiplied by at an optimizer step (from 0), in [0, 1]."""
    epoch = step / steps_per_epoch
    if epoch < train.warmup:
        return (step + 1) / (train.warmup * steps_per_epoch)
    if train.schedule == "milestones":
        return train.gamma ** sum(epoch >= milestone for milestone in train.milestones)
    span = max(train.epochs - train.warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min((epoch - train.warmup) / span, 1.0)))
