"""The ResNets of He et al. for CIFAR, and one of twice their width."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from .network import Network
from .settings import cifar

__all__ = ["CifarResNet"]

_SETTINGS = cifar(pool_size=(8, 8), first_conv="conv1", paper_ids="arXiv:1512.03385")
default_cfgs = generate_default_cfgs({"resnet20": _SETTINGS, "wide_resnet20": _SETTINGS})


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut: the identity, or 1×1 convolution + BatchNorm where the width
    changes.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if inputs != width:
            shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, width, H / stride, W / stride)."""
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.act2(y + self.downsample(x))


class CifarResNet(Network):
    """The ResNet of He et al. 2016 (arXiv:1512.03385, §4.2) for 32-pixel images: 3×3 stem, three stages.

    ``depths`` blocks a stage, of ``width``, twice and four times that: 16, 32 and 64 in the paper.
    """

    def __init__(
        self,
        depths: tuple[int, int, int] = (3, 3, 3),
        width: int = 16,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
    ) -> None:
        super().__init__(num_classes, in_chans)
        self.conv1 = nn.Conv2d(in_chans, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.layer1 = _stage(width, width, depths[0], stride=1)
        self.layer2 = _stage(width, 2 * width, depths[1], stride=2)
        self.layer3 = _stage(2 * width, 4 * width, depths[2], stride=2)
        self.feature_info = [
            {"num_chs": width * reduction, "reduction": reduction, "module": f"layer{stage}"}
            for stage, reduction in ((1, 1), (2, 2), (3, 4))
        ]
        self.add_head(4 * width, global_pool)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) → (N, 4 · width, H/4, W/4)."""
        x = self.act1(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))


def _stage(inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    blocks = [Block(inputs, width, stride)] + [Block(width, width, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def _build(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    return build_model_with_cfg(CifarResNet, name, pretrained, feature_cfg={"out_indices": (0, 1, 2)}, **options)


@register_model
def resnet20(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-20 for CIFAR: 270,896 prunable weights with 10 classes."""
    return _build("resnet20", pretrained, kwargs)


@register_model
def wide_resnet20(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """WideResNet-20 of Gebhart et al. 2021, of twice the width: 1,081,440 prunable weights with 10 classes."""
    return _build("wide_resnet20", pretrained, {"width": 32, **kwargs})
