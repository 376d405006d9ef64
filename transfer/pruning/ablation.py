"""Ablations of finished masks, which tell what a method found (Frankle 2021, arXiv:2009.08576; Su 2020, 2009.11094).

``shuffle``: is it more than how many weights each layer keeps? ``reinit``: does it belong to these weights?
"""

import torch
from torch import nn

from checkpoints.untrained import deviation
from transfer.pruning.masks import Masks
from transfer.seeds import seed_of

_SHUFFLE, _REINIT = 1, 2  # so that the two draw apart from one another


def shuffled(masks: Masks, seed: int) -> Masks:
    """Return masks with the kept weights of each layer at random places within the layer, as many as before."""
    generator = torch.Generator().manual_seed(seed_of(seed, _SHUFFLE))
    found = {}
    for name, mask in masks.items():
        order = torch.randperm(mask.numel(), generator=generator)
        found[name] = mask.flatten()[order.to(mask.device)].view(mask.shape)
    return Masks(found)


@torch.no_grad()
def redraw_(model: nn.Module, masks: Masks, seed: int) -> None:
    """Replace the kept weights by random ones, drawn as those of ``random:<arch>``: Kaiming normal for ReLU, by fan-out
    in convolutions, by fan-in in linear layers.

    Only weights with a mask: biases, norms and their statistics, and excluded layers stay as they are.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, _REINIT))
    for name, weight in masks.match(model).items():
        layer = model.get_submodule(name.rpartition(".")[0])
        weight.copy_(torch.randn(weight.shape, generator=generator) * deviation(layer))
    masks.apply_(model)
