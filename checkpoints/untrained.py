"""``random:<arch>``: Kaiming normal weights from a seed, for training from scratch and for tests."""

from __future__ import annotations

import math

import timm
import torch
from torch import nn

from .backbone import Backbone, Card
from .trunk import trunk


def load(arch: str, seed: int) -> Backbone:
    """Draw a trunk: convolutions and linear layers Kaiming normal for ReLU (He et al. 2015), biases zero.

    No BatchNorm is zero at the start (timm zeroes the last one of each residual block, which would hide the
    block from any score). Other parameters, as position embeddings, stay as timm draws them. The same seed
    gives the same bits; the global random state is left as it was.

    Raises:
        InputError: the architecture is unknown.
    """
    shape = trunk(arch)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = timm.create_model(arch, num_classes=0)
        for module in model.modules():
            _draw(module)
    card = Card(name=f"random:{arch}", notes=f"Kaiming normal, seed {seed}, never trained")
    return Backbone(arch=arch, state_dict=dict(model.state_dict()), card=card, **shape.preparation)


def deviation(layer: nn.Module) -> float:
    """Return the standard deviation of Kaiming normal weights: by fan-out in convolutions, by fan-in in linear layers.

    Raises:
        TypeError: the layer is neither.
    """
    if isinstance(layer, nn.modules.conv._ConvNd):
        return math.sqrt(2.0 / (layer.out_channels * math.prod(layer.kernel_size) / layer.groups))
    if isinstance(layer, nn.Linear):
        return math.sqrt(2.0 / layer.in_features)
    raise TypeError(f"{type(layer).__name__} is neither a convolution nor linear")


@torch.no_grad()
def _draw(module: nn.Module) -> None:
    if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
        module.weight.normal_(0.0, deviation(module))
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.reset_parameters()
    else:
        return
    if isinstance(module.bias, nn.Parameter):
        nn.init.zeros_(module.bias)
