"""How the papers' networks start: Kaiming normal weights, zero biases."""

from __future__ import annotations

from torch import nn


def kaiming_normal(module: nn.Module) -> None:
    """He et al. 2015, for ReLU: by fan-out in convolutions, by fan-in in linear layers; biases zero."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)
