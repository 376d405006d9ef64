"""A network of 200 numbers, registered with timm: its files are mostly structure, which is what a fuzzer should hit."""

from __future__ import annotations

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

__all__ = ["tiny_net"]

ARCH = "tiny_net"
SIZE = (3, 8, 8)
LOOK = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "interpolation": "bilinear", "input_size": SIZE}
default_cfgs = generate_default_cfgs({ARCH: {**LOOK, "num_classes": 2, "first_conv": "conv1", "classifier": "fc"}})


class TinyNet(nn.Module):
    """A convolution, a BatchNorm and a head."""

    def __init__(self, num_classes: int = 2, in_chans: int = 3, **_: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_chans, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bn1(self.conv1(x)).relu().mean((2, 3)))


@register_model
def tiny_net(pretrained: bool = False, **options: Any) -> TinyNet:
    """The network, without weights of anyone."""
    return build_model_with_cfg(TinyNet, ARCH, pretrained, **options)


def trained(num_classes: int = 2) -> TinyNet:
    """One whose BatchNorm has seen something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TinyNet(num_classes)
        model(torch.rand(4, *SIZE))
    return model
