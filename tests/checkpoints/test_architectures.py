"""The papers' ResNets, VGG and fully connected nets: their sizes, timm's interface, the way to a task."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import nn

import checkpoints
import checkpoints.architectures
from checkpoints import InputError
from transfer.models import classifier
from transfer.pruning import prune
from transfer.pruning.prunable import prunable

VGGS = {"vgg11_bn_cifar": (8, 9_222_848), "vgg16_bn_cifar": (13, 14_715_584)}
FCS = {"fc_100": 286_200, "fc_500": 2_431_000, "fc_1000": 7_362_000, "fc_2000": 24_724_000}
RESNETS = {"resnet20": 270_896, "wide_resnet20": 1_081_440}
NETS = {**dict.fromkeys([*RESNETS, *VGGS], 32), **dict.fromkeys(FCS, 28)}


def images(side: int, count: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("arch", NETS)
def test_they_are_timm_models_and_hide_none_of_timms(arch: str) -> None:
    assert timm.is_model(arch)
    assert timm.models.model_entrypoint(arch).__module__.startswith("checkpoints.architectures.")
    assert timm.models.model_entrypoint("vgg16_bn").__module__ == "timm.models.vgg"
    size = timm.get_pretrained_cfg(arch).input_size
    assert size == (3, NETS[arch], NETS[arch])


@pytest.mark.parametrize("arch", RESNETS)
def test_a_resnet_has_twenty_layers_and_its_count_of_weights(arch: str) -> None:
    model = timm.create_model(arch, num_classes=10)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert sum(c.kernel_size == (3, 3) for c in convolutions) + 1 == 20  # and the head
    assert sum(w.numel() for w in prunable(model).values()) == RESNETS[arch]
    assert timm.create_model(arch, features_only=True).feature_info.channels() == [
        side * (1 + arch.startswith("wide")) for side in (16, 32, 64)
    ]


@pytest.mark.parametrize("arch", VGGS)
def test_a_vgg_has_the_papers_count_of_weights(arch: str) -> None:
    model = timm.create_model(arch, num_classes=10)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert (len(convolutions), sum(w.numel() for w in prunable(model).values())) == VGGS[arch]
    assert sum(isinstance(module, nn.Linear) for module in model.modules()) == 1
    assert sum(isinstance(module, nn.MaxPool2d) for module in model.modules()) == 5


@pytest.mark.parametrize("arch", ["vgg11_bn", "vgg16_bn"])
def test_a_vggs_trunk_is_timms_without_the_fully_connected_layers(arch: str) -> None:
    with torch.device("meta"):
        big = timm.create_model(arch).features
    small = timm.create_model(f"{arch}_cifar", num_classes=0)
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)
    order = [
        [(type(m), getattr(m, "weight", torch.zeros(0)).shape) for m in net.modules() if isinstance(m, kinds)]
        for net in (big, small)
    ]
    assert order[0] == order[1]


def test_a_vgg_gives_its_maps() -> None:
    model = timm.create_model("vgg11_bn_cifar", features_only=True).eval()
    shapes = [tuple(features.shape[1:]) for features in model(images(64, 1))]
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    assert model.feature_info.reduction() == [2, 4, 8, 16, 32]


def test_a_vgg_takes_larger_images_and_keeps_the_map_on_request() -> None:
    model = timm.create_model("vgg11_bn_cifar", num_classes=0, global_pool="").eval()
    assert model(images(96)).shape == (2, 512, 3, 3)
    pooled = timm.create_model("vgg11_bn_cifar", num_classes=7).eval()
    maps = pooled.forward_features(images(96))
    torch.testing.assert_close(pooled.forward_head(maps, pre_logits=True), maps.mean((2, 3)))


def test_a_vgg_starts_kaiming_normal() -> None:
    model = timm.create_model("vgg16_bn_cifar")
    assert model.layer5[0].weight.std().item() == pytest.approx(math.sqrt(2 / (512 * 9)), rel=0.01)
    assert model.fc.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.05)
    assert (model.fc.bias == 0).all()


@pytest.mark.parametrize("arch", FCS)
def test_a_fully_connected_net_has_six_hidden_layers_of_its_width(arch: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(arch, num_classes=10)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    width = int(arch.removeprefix("fc_"))
    assert [(m.in_features, m.out_features) for m in layers] == [(2352, width), *[(width, width)] * 5, (width, 10)]
    assert sum(layer.weight.numel() for layer in layers) == FCS[arch]


def test_a_fully_connected_net_is_the_formula() -> None:
    model = timm.create_model("fc_100", num_classes=10, in_chans=1, img_size=8).double()
    weights = [(p.detach() if p.dim() > 1 else p.detach().normal_()) for p in model.parameters()]
    x = expected = images(8, 3, 1).double()
    expected = expected.reshape(3, 64)
    for layer in range(7):
        weight, bias = weights[2 * layer : 2 * layer + 2]
        expected = expected @ weight.T + bias
        expected = expected.clamp_min(0) if layer < 6 else expected
    torch.testing.assert_close(model(x), expected)


def test_a_fully_connected_net_starts_kaiming_normal_with_zero_biases() -> None:
    model = timm.create_model("fc_500")
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert all((layer.bias == 0).all() for layer in linear)
    for layer in linear[:6]:
        weight = layer.weight.detach()
        assert weight.std().item() == pytest.approx(math.sqrt(2 / layer.in_features), rel=0.01)
        assert float(weight.pow(4).mean() / weight.var() ** 2) == pytest.approx(3, rel=0.05)  # normal


def test_a_fully_connected_net_takes_its_own_size_only() -> None:
    model = timm.create_model("fc_100", img_size=(4, 6), in_chans=1)
    assert model(torch.zeros(2, 1, 4, 6)).shape == (2, 10)
    for wrong in ((1, 6, 4), (3, 4, 6), (1, 8, 3)):
        with pytest.raises(InputError, match=r"images of \(1, 4, 6\) got .* use images of that size") as caught:
            model(torch.zeros(2, *wrong))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arch", ["wide_resnet20", "vgg11_bn_cifar", "fc_100"])
def test_they_have_timms_interface(arch: str) -> None:
    model, x = timm.create_model(arch, num_classes=7).eval(), images(NETS[arch])
    assert isinstance(model.get_classifier(), nn.Linear)
    assert model(x).shape == (2, model.num_classes) == (2, 7)
    features = model.forward_head(model.forward_features(x), pre_logits=True)
    assert features.shape == (2, model.num_features)
    torch.testing.assert_close(model.get_classifier()(features), model(x))
    model.reset_classifier(0)
    torch.testing.assert_close(model(x), features)
    assert timm.create_model(arch, num_classes=0, global_pool="").state_dict().keys() == model.state_dict().keys()
    model.reset_classifier(4)
    assert model(x).shape == (2, 4)
    with torch.no_grad():
        assert (model.get_classifier().bias == 0).all()


@pytest.mark.parametrize("arch", ["wide_resnet20", "vgg11_bn_cifar", "vgg16_bn_cifar", "fc_100", "fc_500"])
def test_a_random_trunk_becomes_a_classifier(arch: str) -> None:
    backbone = checkpoints.load(f"random:{arch}", seed=3)
    assert backbone.arch == arch
    assert backbone.input_size == (3, NETS[arch], NETS[arch])
    model = classifier(backbone, 5, seed=1)
    weights = model.state_dict()
    assert set(weights) - set(backbone.state_dict) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(weights[key], value) for key, value in backbone.state_dict.items())
    assert model.eval()(images(NETS[arch])).shape == (2, 5)


@pytest.mark.parametrize("method", ["px", "snip"])
@pytest.mark.parametrize("arch", ["vgg11_bn_cifar", "fc_100"])
def test_they_can_be_pruned(arch: str, method: str) -> None:
    model = classifier(checkpoints.load(f"random:{arch}"), 5)
    masks = prune(model, [(images(NETS[arch]), torch.tensor([0, 3]))], method=method, sparsity=0.9, rounds=2)
    assert masks.kept == masks.total - math.floor(0.9 * masks.total + 0.5)


def test_they_have_no_published_weights() -> None:
    for arch in ("vgg16_bn_cifar", "fc_100"):
        with pytest.raises(InputError, match=f"random:{arch}"):
            checkpoints.load(f"timm:{arch}")
