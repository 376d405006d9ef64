"""Trunk for dense prediction: a pretrained network, dilated to an output stride, returning feature maps."""

from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.models.efficientnet import EfficientNetFeatures
from torch import Tensor, nn

import checkpoints.architectures  # noqa: F401  (registers resnet20 with timm)
from checkpoints import Backbone
from checkpoints.errors import InputError, near
from transfer.models.dilate import SIDE, dilate


class Encoder(nn.Module):
    """A timm network that returns a list of feature maps: the image itself, then one map per stage.

    A stage beyond the output stride is dilated (:func:`transfer.models.dilate.dilate`): at every second (fourth)
    position a map then equals what the pretrained network computes there. The dilation of smp and timm does not
    guarantee that: smp also dilates the first convolution of a ResNet's stage, and timm drops the average pooling of
    CLIP's and of anti-aliased ResNets and does not dilate that of ResNet-D.
    """

    def __init__(self, model: Any, output_stride: int) -> None:
        super().__init__()
        self.model, self.output_stride = model, output_stride
        self.out_channels: list[int] = [3, *model.feature_info.channels()]

    @property
    def detail(self) -> int:
        """Reduction of the second map, DeepLabV3+'s low-level features."""
        return 2 if self.output_stride == 4 else 4

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to maps of ``out_channels``, the last (N, C, H / output_stride, W / output_stride)."""
        return [x, *self.model(x)]


def encoder(backbone: Backbone, output_stride: int) -> Encoder:
    """Return the backbone's trunk with the deepest map at 1 / ``output_stride`` of the image's sides.

    Args:
        backbone: every tensor must be loaded, except an EfficientNet's last 1×1 convolution (``conv_head``, ``bn2``),
            which makes the input of its classifier: its last map is that of its last block.
        output_stride: 16 or 8; a trunk for small images, such as resnet20, supports its natural stride only (4).

    Raises:
        InputError: an architecture without maps of the right sizes, an unsupported stride, or weights that do not fit.
    """
    arch = backbone.arch
    if not timm.is_model(arch):
        raise InputError(f"unknown architecture {arch!r}; {near(arch, timm.list_models())}")
    with torch.device("meta"):
        natural = _built(arch, lambda: timm.create_model(arch, features_only=True)).feature_info.reduction()[-1]
    allowed = (8, 16) if natural > 8 else (natural,)
    if output_stride not in allowed:
        raise InputError(f"output_stride is {output_stride}; {arch} allows {' or '.join(map(str, allowed))}")
    made = Encoder(_built(arch, lambda: timm.create_model(arch, features_only=True)), output_stride)
    if output_stride != natural:
        _built(arch, lambda: dilate(made.model, output_stride))
    _check_sizes(made, arch)
    _load(made.model, backbone)
    return made


def _built(arch: str, make: Callable[[], Any]) -> Any:
    """Call timm, whose networks reject unsupported options with various errors."""
    try:
        return make()
    except InputError:
        raise
    except (TypeError, ValueError, AssertionError, AttributeError, RuntimeError) as error:
        raise _unfit(arch) from error


def _check_sizes(made: Encoder, arch: str) -> None:
    """Run the encoder once: the sizes that timm reports are not always the actual ones."""
    stride = made.output_stride
    with torch.no_grad():
        maps = _built(arch, lambda: made.eval()(torch.zeros(1, 3, SIDE, SIDE)))
    made.train()
    start = 0 if made.detail == 2 else 1
    reductions = [1, *(min(2**i, stride) for i in range(start, start + len(maps) - 1))]
    expected = [(c, SIDE // r, SIDE // r) for c, r in zip(made.out_channels, reductions, strict=True)]
    fits = len(maps) > 3 and reductions[2] == made.detail and reductions[-1] == stride
    if not fits or [tuple(x.shape[1:]) for x in maps] != expected:
        raise _unfit(arch)


def _unfit(arch: str) -> InputError:
    return InputError(
        f"{arch} gives no feature maps at 1/2, 1/4, 1/8 and 1/16 of the image with this output stride, "
        "which DeepLabV3+ needs; choose a convolutional network such as a ResNet"
    )


def _load(model: nn.Module, backbone: Backbone) -> None:
    """Copy every tensor of the trunk; timm's feature networks rename ``stages.0`` to ``stages_0`` and the like."""
    name, arch = backbone.card.name, backbone.arch
    own = {_flat(key): value for key, value in model.state_dict().items()}
    head = ("conv_head.", "bn2.") if isinstance(model, EfficientNetFeatures) else ()
    trunk = {key: value for key, value in backbone.state_dict.items() if not key.startswith(head)}
    given = {_flat(key): (key, value) for key, value in trunk.items()}
    missing = [key for key in model.state_dict() if _flat(key) not in given]
    if missing:
        raise InputError(
            f"the weights of {name} do not fit {arch}: {len(missing)} keys missing ({', '.join(missing[:3])})"
        )
    extra = [key for flat, (key, _) in given.items() if flat not in own]
    if extra:
        raise InputError(
            f"the weights of {name} do not fit the feature maps of {arch}: {len(extra)} keys would be lost "
            f"({', '.join(extra[:3])}); choose a network whose last map is its last layer, such as a ResNet"
        )
    for flat, (key, value) in given.items():
        if own[flat].shape != value.shape:
            raise InputError(f"the weights of {name} have another shape than {arch}: {key}")
        own[flat].copy_(value)


def _flat(key: str) -> str:
    return key.replace(".", "_")
