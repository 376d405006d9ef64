"""Random trunks: the same seed the same bits, no block hidden, no global state touched."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import nn

import checkpoints
from checkpoints import InputError


def test_a_seed_decides_every_bit() -> None:
    first, again, other = (checkpoints.load("random:resnet20", seed=seed) for seed in (3, 3, 4))
    assert first.digest() == again.digest() != other.digest()


@pytest.mark.parametrize("arch", ["resnet20", "resnet10t", "vit_tiny_patch16_224"])
def test_the_global_random_state_is_left_alone(arch: str) -> None:
    before = torch.random.get_rng_state()
    torch.manual_seed(5)
    checkpoints.load(f"random:{arch}", seed=1)
    left = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(left, torch.rand(3))
    torch.random.set_rng_state(before)


@pytest.mark.parametrize("arch", ["resnet50", "resnet50_clip_gap"])
def test_no_block_is_hidden_behind_a_zero(arch: str) -> None:
    backbone = checkpoints.load(f"random:{arch}")
    scales = {key: value for key, value in backbone.state_dict.items() if "bn" in key and key.endswith("weight")}
    assert len(scales) > 40
    assert all((value == 1).all() for value in scales.values())


def test_convolutions_are_kaiming_normal_and_biases_zero() -> None:
    weights = checkpoints.load("random:resnet18").state_dict
    last = weights["layer4.1.conv2.weight"]  # 512 → 512, 3×3
    assert last.std().item() == pytest.approx(math.sqrt(2 / (512 * 9)), rel=0.01)
    assert all((value == 0).all() for key, value in weights.items() if key.endswith("bias"))


def test_depthwise_convolutions_are_scaled_by_what_feeds_an_output() -> None:
    weights = checkpoints.load("random:convnext_atto").state_dict
    depthwise = weights["stages.2.blocks.0.conv_dw.weight"]
    assert depthwise.shape[1] == 1
    assert depthwise.std().item() == pytest.approx(math.sqrt(2 / 49), rel=0.05)


def test_it_fits_strictly_and_its_card_says_what_it_is() -> None:
    backbone = checkpoints.load("random:resnet10t", seed=9)
    model = timm.create_model("resnet10t", num_classes=0)
    model.load_state_dict(dict(backbone.state_dict), strict=True)
    assert "seed 9" in backbone.card.notes
    assert backbone.card.sha256 is None


@pytest.mark.parametrize("name", ["random:", "random:resnet_50", "random:resnet50.tv_in1k"])
def test_an_unknown_architecture_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown architecture"):
        checkpoints.load(name)


@pytest.fixture(scope="module")
def resnet20() -> nn.Module:
    return timm.create_model("resnet20", num_classes=10)


def test_resnet20_has_the_papers_count_of_weights(resnet20: nn.Module) -> None:
    layers = [module for module in resnet20.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert sum(layer.weight.numel() for layer in layers) == 270_896
    assert len(layers) == 1 + 18 + 2 + 1


def test_resnet20_has_timms_interface(resnet20: nn.Module) -> None:
    images = torch.randn(2, 3, 32, 32)
    resnet20.eval()
    assert resnet20(images).shape == (2, 10)
    assert resnet20.forward_features(images).shape == (2, 64, 8, 8)
    assert resnet20.forward_head(resnet20.forward_features(images), pre_logits=True).shape == (2, 64)
    assert isinstance(resnet20.get_classifier(), nn.Linear)


def test_resnet20_changes_its_head_and_input() -> None:
    model = timm.create_model("resnet20", num_classes=7, in_chans=1)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 7)
    model.reset_classifier(0)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 64)
    assert timm.create_model("resnet20", num_classes=0).state_dict().keys() == model.state_dict().keys()


def test_resnet20_gives_its_maps() -> None:
    model = timm.create_model("resnet20", features_only=True)
    shapes = [tuple(features.shape) for features in model(torch.randn(1, 3, 32, 32))]
    assert shapes == [(1, 16, 32, 32), (1, 32, 16, 16), (1, 64, 8, 8)]
    assert model.feature_info.channels() == [16, 32, 64]


def test_resnet20_starts_kaiming_normal() -> None:
    model = timm.create_model("resnet20")
    assert model.layer3[2].conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.03)
    assert (model.fc.bias == 0).all()


def test_resnet20_has_no_published_weights() -> None:
    with pytest.raises(InputError, match="random:resnet20"):
        checkpoints.load("timm:resnet20")
