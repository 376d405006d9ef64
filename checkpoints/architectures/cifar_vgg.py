"""The VGG nets with BatchNorm for small images: the convolutions of Simonyan and Zisserman, one linear head."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from .network import Network
from .settings import cifar

__all__ = ["CifarVgg"]

_SETTINGS = cifar(pool_size=(1, 1), first_conv="layer1.0", paper_ids="arXiv:1409.1556")
default_cfgs = generate_default_cfgs({"vgg11_bn_cifar": _SETTINGS, "vgg16_bn_cifar": _SETTINGS})

_WIDTHS = (64, 128, 256, 512, 512)


class CifarVgg(Network):
    """VGG (arXiv:1409.1556, table 1) with BatchNorm for images of 32 pixels or more: five stages, one Linear.

    ``depths`` 3×3 convolutions a stage, each followed by BatchNorm and ReLU; a stage ends in a max-pool that
    halves the image.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int, int] = (2, 2, 3, 3, 3),
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
    ) -> None:
        super().__init__(num_classes, in_chans)
        self.layer1 = _stage(in_chans, _WIDTHS[0], depths[0])
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], depths[1])
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], depths[2])
        self.layer4 = _stage(_WIDTHS[2], _WIDTHS[3], depths[3])
        self.layer5 = _stage(_WIDTHS[3], _WIDTHS[4], depths[4])
        self.feature_info = [
            {"num_chs": width, "reduction": 2**stage, "module": f"layer{stage}"}
            for stage, width in enumerate(_WIDTHS, start=1)
        ]
        self.add_head(_WIDTHS[-1], global_pool)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) → (N, 512, H/32, W/32)."""
        return self.layer5(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


def _stage(inputs: int, width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for conv in range(depth):
        layers += [nn.Conv2d(inputs if conv == 0 else width, width, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2))


def _build(name: str, pretrained: bool, depths: tuple[int, ...], options: dict[str, Any]) -> nn.Module:
    features = {"out_indices": (0, 1, 2, 3, 4)}
    return build_model_with_cfg(CifarVgg, name, pretrained, feature_cfg=features, depths=depths, **options)


@register_model
def vgg11_bn_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """VGG-11 with BatchNorm for CIFAR: 9,222,848 prunable weights with 10 classes."""
    return _build("vgg11_bn_cifar", pretrained, (1, 1, 2, 2, 2), kwargs)


@register_model
def vgg16_bn_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """VGG-16 with BatchNorm for CIFAR: 14,715,584 prunable weights with 10 classes."""
    return _build("vgg16_bn_cifar", pretrained, (2, 2, 3, 3, 3), kwargs)
