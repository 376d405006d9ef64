import subprocess
import sys
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import checkpoints
from checkpoints.errors import InputError
from tests.export.networks import NETWORKS, Chain, gap, prune, signal, size
from transfer.export.compact import compact
from transfer.export.program import program, save
from transfer.export.table import savings
from transfer.models import classifier, segmenter

SMALL = ((2, 3, 16, 16), (1, 3, 16, 16), (3, 3, 15, 21), (2, 3, 23, 14))


def image(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("sparsity", "whole", "seed"), [(0.85, 0.1, 1), pytest.param(0.98, 0.5, 3, marks=pytest.mark.slow)]
)
def test_outputs_equal_the_masked_models_at_every_size(name: str, sparsity: float, whole: float, seed: int) -> None:
    model = prune(NETWORKS[name](), sparsity, seed, whole)
    small = compact(model, image(2, 3, 16, 16))
    assert gap(model, small, *SMALL) < 1e-12
    assert size(small) < size(model)
    assert signal(model, SMALL[0]) > 1e-3 or sparsity > 0.9


def test_resnet20() -> None:
    model = prune(classifier(checkpoints.load("random:resnet20"), 10), 0.98, 0).float()
    small = compact(model, torch.zeros(1, 3, 32, 32))
    assert gap(model, small, (2, 3, 32, 32), (1, 3, 33, 47)) < 1e-5
    assert size(small) < size(model)
    assert signal(model, (2, 3, 32, 32)) > 1e-3


def test_an_emptied_branch_leaves_only_its_constant() -> None:
    model = prune(NETWORKS["residual"](), 0.5, 0)
    assert isinstance(model.one, nn.Sequential)
    model.one[0].weight.data.zero_()
    model.two[0].weight.data.zero_()
    small = compact(model, image(2, 3, 16, 16))
    assert not [name for name, _ in small.named_modules() if name.startswith(("one", "two"))]
    assert gap(model, small, *SMALL) < 1e-12


def test_a_network_whose_every_path_is_cut_still_gives_its_constant() -> None:
    model = prune(Chain(), 0.5, 0)
    model[2][0].weight.data.zero_()
    model[2][1].bias.data.fill_(-3)  # so that ReLU gives zeros, which the next layer's padding continues
    small = compact(model, image(2, 3, 16, 16))
    assert [p.shape for name, p in small.named_parameters() if name == "3.0.weight"] == [(1, 1, 3, 3)]
    assert gap(model, small, *SMALL) < 1e-12


def pair(second: nn.Conv2d) -> nn.Module:
    """Two convolutions; of the first's four outputs, one is constant and one is used by nothing."""
    model = nn.Sequential(OrderedDict(first=nn.Conv2d(3, 4, 3), act=nn.ReLU(), second=second)).double()
    model.first.weight.data[1] = 0
    model.first.bias.data[1] = 0.7
    second.weight.data[:, 2] = 0
    return model.eval()


@pytest.mark.parametrize(
    ("second", "left"),
    [
        (nn.Conv2d(4, 5, 1), 2),
        (nn.Conv2d(4, 5, 3), 2),
        (nn.Conv2d(4, 5, 3, padding=1), 3),
        (nn.Conv2d(4, 5, 1, padding=1), 3),
        (nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect"), 2),
        (nn.Conv2d(4, 5, 3, padding="same", dilation=2), 3),
    ],
)
def test_a_constant_channel_stays_only_where_zero_padding_shows_it(second: nn.Conv2d, left: int) -> None:
    model = pair(second)
    small = compact(model, image(2, 3, 9, 9))
    assert small.first.out_channels == left
    assert gap(model, small, (2, 3, 9, 9), (1, 3, 8, 13)) < 1e-12


def test_a_constant_channel_goes_if_only_the_middle_of_the_window_uses_it() -> None:
    model = pair(nn.Conv2d(4, 5, 3, padding=1, stride=2))
    middle = torch.zeros(3, 3)
    middle[1, 1] = 1
    model.second.weight.data[:, 1] *= middle
    small = compact(model, image(2, 3, 9, 9))
    assert small.first.out_channels == 2
    assert gap(model, small, (2, 3, 9, 9), (1, 3, 8, 13)) < 1e-12


@pytest.mark.parametrize("seed", range(2))
def test_what_stays_is_what_a_disturbance_shows(seed: int) -> None:
    """Slow and independent: disturb one channel at a time, and see whether it varies and whether the outputs do."""
    widths, layers = (3, 9, 9, 9, 4), OrderedDict[str, nn.Module]()
    for i, (before, after) in enumerate(pairwise(widths)):
        layers[f"conv{i}"] = nn.Conv2d(before, after, 3 if i == 0 else 1)
        layers[f"act{i}"] = nn.ELU()
    model = prune(nn.Sequential(layers), 0.75, seed)
    small = compact(model, image(2, 3, 6, 6))
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    for i, width in enumerate(widths[1:-1]):
        used = sum(varies(model, f"conv{i}", channel, x) for channel in range(width))
        assert small.get_submodule(f"conv{i}").out_channels == max(used, 1)


@torch.no_grad()
def varies(model: nn.Module, name: str, channel: int, x: Tensor) -> bool:
    """Return whether a channel differs between positions or images, and noise on it changes the outputs."""
    seen: list[Tensor] = []

    def disturb(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        seen.append(out[:, channel].clone())
        out[:, channel] += torch.randn_like(out[:, channel])
        return out

    plain = model(x)
    hook = model.get_submodule(name).register_forward_hook(disturb)
    disturbed = model(x)
    hook.remove()
    return bool((seen[0] != seen[0].flatten()[0]).any()) and not torch.equal(plain, disturbed)


def test_the_model_is_untouched_and_the_result_trains() -> None:
    model = prune(NETWORKS["residual"](), 0.9, 0).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small = compact(model, image(2, 3, 16, 16))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    small(torch.randn(2, 3, 16, 16, dtype=torch.float64)).sum().backward()
    assert all(p.grad is not None for p in small.parameters())


def test_an_operation_that_is_not_known_keeps_what_is_around_it() -> None:
    layers = [
        nn.Conv2d(3, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
        nn.GroupNorm(2, 8),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 2, 1),
    ]
    model = prune(nn.Sequential(*layers), 0.7, 0, whole=0.3)
    small = compact(model, image(2, 3, 8, 8))
    assert small.get_submodule("2").out_channels == small.get_submodule("4").in_channels == 8
    assert small.get_submodule("0").out_channels < 8
    assert gap(model, small, (2, 3, 8, 8)) < 1e-12


def test_savings_are_listed_by_layer() -> None:
    model = pair(nn.Conv2d(4, 5, 1, bias=False))
    rows = savings(model, compact(model, image(2, 3, 9, 9)), (3, 9, 9))
    assert rows == [
        {"name": "first.weight", "weights": [108, 54], "multiply_adds": [108 * 49, 54 * 49]},
        {"name": "second.weight", "weights": [20, 10], "multiply_adds": [20 * 49, 10 * 49]},
        {"name": "total", "weights": [132, 71], "multiply_adds": [128 * 49, 64 * 49]},
    ]


def test_layers_that_are_kept_whole_are_counted() -> None:
    up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2)
    model = pair(nn.Conv2d(4, 4, 1)).append(up.double()).append(nn.Conv2d(6, 2, 1).double())
    small = compact(model, image(2, 3, 9, 9))
    rows = {row["name"]: row for row in savings(model, small, (3, 9, 9))}
    assert rows["3.weight"] == {"name": "3.weight", "weights": [108, 108], "multiply_adds": [108 * 49, 108 * 49]}
    assert rows["first.weight"]["weights"] == [108, 54]
    assert isinstance(small.get_submodule("3"), nn.ConvTranspose2d)
    assert gap(model, small, (2, 3, 9, 9), (1, 3, 8, 13)) < 1e-12


@pytest.mark.large
@pytest.mark.slow
def test_a_file_is_run_by_pytorch_alone(tmp_path: Path) -> None:
    model = prune(NETWORKS["depthwise"](), 0.9, 0, whole=0.3).float()
    save(program(model, torch.zeros(2, 3, 16, 16), smaller=True).exported, tmp_path / "model.pt2", {})
    images = [torch.randn(1, 3, 16, 16), torch.randn(3, 3, 19, 27)]
    torch.save(images, tmp_path / "images.pt")
    script = """
import sys, torch
net = torch.export.load("model.pt2").module()
torch.save([net(x).detach() for x in torch.load("images.pt")], "outputs.pt")
assert not {"timm", "transfer", "checkpoints"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    for x, out in zip(images, torch.load(tmp_path / "outputs.pt"), strict=True):
        assert torch.allclose(out, model(x), atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.pt", "model.pt2", "outputs.pt"]


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_looks_at_values_is_refused() -> None:
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 1), choice=Branching()))
    with pytest.raises(InputError, match=r"^torch.export cannot follow choice \(") as error:
        compact(model, torch.zeros(2, 3, 8, 8))
    assert "\n" not in str(error.value)


def test_a_transformer_is_refused() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3)
    with pytest.raises(InputError, match=r"^compact does not know aten\.\S+ in \S+, and no channel"):
        compact(model, torch.zeros(2, 3, 32, 32))


def test_other_sizes_are_refused_where_the_network_differs() -> None:
    small = compact(pair(nn.Conv2d(4, 5, 1)), image(2, 3, 9, 9), resizable=False)
    with pytest.raises(
        InputError, match=r"^an image is 9×10 px, but the network takes sides of 9 px; resize or pad it$"
    ):
        small(image(2, 3, 9, 10))
    assert small(image(5, 3, 9, 9)).shape == (5, 5, 7, 7)


SPARSITIES = {
    "resnet18": 0.98,
    "resnet50": 0.98,
    "vgg11_bn": 0.98,
    "vgg11_bn_cifar": 0.98,
    "efficientnet_lite0": 0.8,
    "mobilenetv2_050": 0.8,
    "resnet50_clip": 0.95,
    "resnet50_clip_gap": 0.95,
    "regnetx_002": 0.95,
    "densenet121": 0.95,
}
"""At which something of the image is still left in the outputs of a random network."""


@pytest.mark.large
@pytest.mark.slow
@pytest.mark.parametrize("arch", SPARSITIES)
def test_published_classifiers(arch: str) -> None:
    model = prune(timm.create_model(arch, num_classes=10), SPARSITIES[arch], 0, whole=0.1)
    small = compact(model, image(2, 3, 64, 64))
    other = (2, 3, 96, 128) if "clip" in arch else (2, 3, 65, 99)  # timm's CLIP wants even sides
    assert gap(model, small, (1, 3, 64, 64), other) < 1e-11
    assert size(small) < size(model)
    assert signal(model, (1, 3, 64, 64)) > 1e-3


@pytest.mark.large
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet18", "resnet50_clip_gap", "efficientnet_lite0"])
def test_deeplab(arch: str) -> None:
    model = prune(segmenter(checkpoints.load(f"random:{arch}"), 5), 0.8, 0, whole=0.1)
    resizable = "clip" not in arch  # torch cannot solve what its dilated pooling asks of the sides
    small = compact(model, image(2, 3, 64, 64), resizable=resizable)
    assert gap(model, small, (1, 3, 64, 64), *([(2, 3, 96, 128)] if resizable else [])) < 1e-11
    assert size(small) < size(model)
    assert signal(model, (1, 3, 64, 64)) > 1e-3


@pytest.mark.large
@pytest.mark.slow
def test_tensorflows_padding_at_one_size() -> None:
    model = prune(timm.create_model("tf_efficientnet_lite0", num_classes=4), 0.8, 0)
    small = compact(model, image(2, 3, 65, 65), resizable=False)
    assert gap(model, small, (3, 3, 65, 65)) < 1e-11
    assert signal(model, (1, 3, 65, 65)) > 1e-3
