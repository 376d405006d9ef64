"""Classifier: the pretrained trunk with a new linear head and, optionally, a stem for small images."""

from typing import Any

import timm
import torch
from torch import nn

import checkpoints.architectures  # noqa: F401  (registers resnet20 with timm)
from checkpoints import Backbone
from checkpoints.errors import InputError


def classifier(backbone: Backbone, num_classes: int, *, stem: str = "imagenet", seed: int = 0) -> nn.Module:
    """Return a timm model of the backbone's architecture: (N, 3, H, W) → logits (N, ``num_classes``).

    Args:
        backbone: trunk weights; loaded strictly.
        num_classes: K ≥ 1.
        stem: "imagenet" keeps the backbone's own stem. "cifar" replaces a 7×7 stride-2 convolution by a new 3×3 of
            stride 1 and drops the max-pool, for images of about 32 px: the pretrained stem weights are lost.
        seed: of the new head (Kaiming normal, zero bias) and the new stem.

    Raises:
        InputError: ``num_classes`` is below 1; the stem is unknown or not allowed by the architecture, or weights do
            not fit.
    """
    if num_classes < 1:
        raise InputError(f"num_classes is {num_classes}; give 1 or more")
    with torch.random.fork_rng(devices=[]):  # timm initialises weights that the checkpoint overwrites
        model = timm.create_model(backbone.arch, num_classes=num_classes)
    generator = torch.Generator().manual_seed(seed)
    found = heads(model, backbone.arch)
    _load_trunk(model, backbone, set(found))
    for head in found.values():
        _renew(head, generator)
    if stem == "cifar":
        _small_stem(model, backbone.arch, generator)
    elif stem != "imagenet":
        raise InputError(f"unknown stem {stem!r}; known: imagenet, cifar")
    return model


def heads(model: Any, arch: str) -> dict[str, nn.Module]:
    """Return the final layers of a timm model by module name.

    Raises:
        InputError: the model has none.
    """
    wanted = model.get_classifier()
    layers = wanted if isinstance(wanted, (tuple, list)) else [wanted]
    found = {name: module for name, module in model.named_modules() if any(module is layer for layer in layers)}
    if not found or not all(hasattr(head, "weight") for head in found.values()):
        raise InputError(f"{arch} has no linear or convolutional head to renew; choose a classification architecture")
    return found


def _load_trunk(model: nn.Module, backbone: Backbone, heads: set[str]) -> None:
    own = model.state_dict()
    wrong = [key for key, value in backbone.state_dict.items() if key in own and own[key].shape != value.shape]
    if wrong:
        raise InputError(f"the weights of {backbone.card.name} have another shape than {backbone.arch}: {wrong[0]}")
    missing, unexpected = model.load_state_dict(dict(backbone.state_dict), strict=False)
    stray = [key for key in missing if key.rpartition(".")[0] not in heads]
    if stray or unexpected:
        raise InputError(
            f"the weights of {backbone.card.name} do not fit {backbone.arch}: "
            f"{len(stray)} keys missing ({', '.join(stray[:3])}), {len(unexpected)} extra ({', '.join(unexpected[:3])})"
        )


def _renew(module: Any, generator: torch.Generator) -> None:
    nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _small_stem(model: Any, arch: str, generator: torch.Generator) -> None:
    if model.pretrained_cfg["input_size"][-1] <= 32:
        return  # the architecture is already made for small images
    conv = getattr(model, "conv1", None)
    if not (isinstance(conv, nn.Conv2d) and conv.kernel_size == (7, 7) and hasattr(model, "maxpool")):
        raise InputError(
            f"stem='cifar' wants a 7×7 stem with max-pool, which {arch} does not have; "
            "use stem='imagenet' and larger images, such as data.size=224"
        )
    model.conv1 = torch.nn.utils.skip_init(nn.Conv2d, conv.in_channels, conv.out_channels, 3, 1, 1, bias=False)
    _renew(model.conv1, generator)
    model.maxpool = nn.Identity()
