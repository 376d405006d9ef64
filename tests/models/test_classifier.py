"""A classifier: the backbone's trunk to the bit, a seeded Kaiming-normal head, a stem for small images."""

import math

import pytest
import torch
from torch import nn

import checkpoints
from checkpoints import Backbone, InputError
from transfer.models import classifier


@pytest.fixture(scope="module")
def resnet18() -> Backbone:
    return checkpoints.load("random:resnet18")


@pytest.fixture(scope="module")
def resnet20() -> Backbone:
    return checkpoints.load("embedded")


def same(a: nn.Module, b: nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[key], y[key]) for key in x)


def test_the_trunk_is_the_backbones(resnet20: Backbone) -> None:
    weights = classifier(resnet20, 7).state_dict()
    assert set(weights) - set(resnet20.state_dict) == {"fc.weight", "fc.bias"}
    for key, value in resnet20.state_dict.items():
        assert torch.equal(weights[key], value), key
        assert weights[key].data_ptr() != value.data_ptr()


def test_the_head_is_kaiming_normal(resnet18: Backbone) -> None:
    head = classifier(resnet18, 2000).get_submodule("fc")
    assert isinstance(head, nn.Linear)
    assert tuple(head.weight.shape) == (2000, 512)
    deviation = math.sqrt(2 / 512)
    weight = head.weight.detach()
    assert float(weight.std()) == pytest.approx(deviation, rel=0.01)
    assert abs(float(weight.mean())) < deviation / 100
    fourth = float((weight / weight.std()).pow(4).mean())
    assert fourth == pytest.approx(3.0, abs=0.05)  # normal, not uniform (1.8)
    assert (head.bias == 0).all()


def test_the_seed_decides_the_head_alone(resnet20: Backbone) -> None:
    first, again, other = (classifier(resnet20, 10, seed=seed) for seed in (0, 0, 1))
    assert same(first, again)
    differ = [key for key, value in first.state_dict().items() if not torch.equal(value, other.state_dict()[key])]
    assert differ == ["fc.weight"]


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_the_global_random_state_is_neither_read_nor_changed(resnet18: Backbone, stem: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = classifier(resnet18, 10, stem=stem)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, classifier(resnet18, 10, stem=stem))


def test_a_stem_for_small_images(resnet18: Backbone) -> None:
    model = classifier(resnet18, 10, stem="cifar").eval()
    conv = model.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d)
    assert (conv.kernel_size, conv.stride, conv.padding, conv.bias) == ((3, 3), (1, 1), (1, 1), None)
    assert not any(isinstance(module, nn.MaxPool2d) for module in model.modules())
    assert float(conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / 27), rel=0.1)
    sizes: list[tuple[int, ...]] = []
    model.get_submodule("layer1").register_forward_hook(lambda *args: sizes.append(tuple(args[2].shape)))
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert sizes == [(1, 64, 32, 32)]
    rest = {key: value for key, value in model.state_dict().items() if not key.startswith(("conv1.", "fc."))}
    assert all(torch.equal(value, resnet18.state_dict[key]) for key, value in rest.items())


def test_a_network_for_small_images_keeps_its_stem(resnet20: Backbone) -> None:
    assert same(classifier(resnet20, 10, stem="cifar"), classifier(resnet20, 10))


def test_clips_stem_of_three_convolutions_is_refused() -> None:
    with pytest.raises(InputError, match="resnet50_clip_gap"):
        classifier(checkpoints.load("random:resnet50_clip_gap"), 10, stem="cifar")


def test_an_unknown_stem_is_refused(resnet20: Backbone) -> None:
    with pytest.raises(InputError, match="unknown stem 'mnist'; known: imagenet, cifar"):
        classifier(resnet20, 10, stem="mnist")


@pytest.mark.parametrize("classes", [0, -1])
def test_no_class_is_refused(resnet20: Backbone, classes: int) -> None:
    with pytest.raises(InputError, match=f"num_classes is {classes}; give 1 or more"):
        classifier(resnet20, classes)


def test_weights_of_another_network_are_refused(resnet18: Backbone) -> None:
    state = {key: value for key, value in resnet18.state_dict.items() if key != "conv1.weight"}
    broken = Backbone("resnet18", state, (0, 0, 0), (1, 1, 1), "bilinear", (3, 224, 224), resnet18.card)
    with pytest.raises(InputError, match=r"1 keys missing \(conv1\.weight\)"):
        classifier(broken, 10)
    wrong = {**resnet18.state_dict, "conv1.weight": torch.zeros(64, 3, 3, 3)}
    misfit = Backbone("resnet18", wrong, (0, 0, 0), (1, 1, 1), "bilinear", (3, 224, 224), resnet18.card)
    with pytest.raises(InputError, match=r"conv1\.weight") as caught:
        classifier(misfit, 10)
    assert "\n" not in str(caught.value)
