"""Random networks that stand in for trained ones, and what to compare of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn


def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every BatchNorm its own scale, shift and statistics, and set the network to evaluation."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0.0, 0.1, generator=generator)
            module.num_batches_tracked.fill_(7)
    return model.eval()


def trunk_of(state_dict: Mapping[str, Tensor], head: str = "fc.") -> dict[str, Tensor]:
    return {key: value for key, value in state_dict.items() if not key.startswith(head)}


def assert_same(got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[key], expected[key]) for key in expected)


def features(arch: str, state_dict: Mapping[str, Any], images: Tensor) -> Tensor:
    """What the trunk gives for images once timm has taken the weights, strictly."""
    model = timm.create_model(arch, num_classes=0)
    model.load_state_dict(dict(state_dict), strict=True)
    with torch.no_grad():
        return model.eval()(images)
