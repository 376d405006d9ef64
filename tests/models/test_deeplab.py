"""DeepLabV3+: the backbone's features to the bit, maps of the right size at both strides, paths through all of it."""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

import checkpoints
from checkpoints import Backbone, InputError
from tests.checkpoints.networks import randomized
from transfer.models import classifier, segmenter
from transfer.models.deeplab import RATES
from transfer.pruning import prune, score
from transfer.pruning.layers import live
from transfer.recipe import TRUNK

SMALL = [("test_resnet", 16), ("test_resnet", 8), ("resnet18", 16), ("resnet18", 8), ("resnet20", 4)]
LITE = [("tf_efficientnet_lite0", 16), ("tf_efficientnet_lite0", 8)]
LARGE = [("resnet50", 16), ("resnet50_clip_gap", 8)]


@cache
def untrained(arch: str) -> Backbone:
    return checkpoints.load(f"random:{arch}")


@cache
def trained(arch: str) -> Backbone:
    """Random weights with BatchNorms that are not the identity: what a wrong load would change."""
    backbone = untrained(arch)
    model = timm.create_model(arch, num_classes=0)
    model.load_state_dict(dict(backbone.state_dict))
    return replace(backbone, state_dict=dict(randomized(model).state_dict()))


def images(count: int = 1, height: int = 64, width: int = 96) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def same(a: nn.Module, b: nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[key], y[key]) for key in x)


@pytest.mark.parametrize(("arch", "stride"), [*SMALL, *LITE, *LARGE])
def test_every_map_has_its_size(arch: str, stride: int) -> None:
    model = segmenter(untrained(arch), 5, output_stride=stride).eval()
    with torch.no_grad():
        maps, logits = model.get_submodule("encoder")(images()), model(images())
    reductions = [1, 1, 2, 4] if stride == 4 else [1, 2, 4, 8, stride, stride]
    assert [tuple(x.shape[2:]) for x in maps] == [(64 // r, 96 // r) for r in reductions]
    assert [x.shape[1] for x in maps] == model.encoder.out_channels  # type: ignore[union-attr]
    assert logits.shape == (1, 5, 64, 96)


@pytest.mark.parametrize(("arch", "stride"), [*SMALL, *LITE, *LARGE])
def test_the_features_are_those_of_the_classifiers_trunk(arch: str, stride: int) -> None:
    """Equal to the bit down to the stride; below, the same at every second (fourth) place."""
    backbone = trained(arch)
    reference: list[Tensor] = []
    trunk = classifier(backbone, 7).eval()
    stages = ["layer1", "layer2", "layer3", "layer4"] if hasattr(trunk, "layer4") else ["layer1", "layer2", "layer3"]
    stages = [f"stages.{i}" for i in range(4)] if arch == "resnet50_clip_gap" else stages
    stages = [f"blocks.{i}" for i in (0, 1, 2, 4, 6)] if arch == "tf_efficientnet_lite0" else stages
    for stage in stages:
        trunk.get_submodule(stage).register_forward_hook(lambda *args: reference.append(args[2].clone()))
    with torch.no_grad():
        trunk(images())
        maps = segmenter(backbone, 7, output_stride=stride).eval().get_submodule("encoder")(images())
    assert torch.equal(maps[0], images())
    for wanted, found in zip(reference, maps[-len(stages) :], strict=True):
        step = found.shape[-1] // wanted.shape[-1]
        if step == 1:
            assert torch.equal(found, wanted)
        else:
            assert torch.allclose(found[..., ::step, ::step], wanted, atol=1e-5 * float(wanted.abs().max()))
    assert [x.shape[-1] for x in maps[-len(stages) :]] == [max(x.shape[-1], 96 // stride) for x in reference]


@pytest.mark.parametrize(("arch", "stride"), [("resnet18", 16), ("resnet18", 8)])
def test_it_is_smps_deeplabv3plus(arch: str, stride: int) -> None:
    """The same keys and, with them loaded, the same logits; the rates are the papers'."""
    model = segmenter(trained(arch), 6, output_stride=stride).eval()
    rates = {16: (6, 12, 18), 8: (12, 24, 36)}[stride]
    with torch.random.fork_rng():
        theirs = smp.DeepLabV3Plus(
            f"tu-{arch}", encoder_weights=None, encoder_output_stride=stride, decoder_atrous_rates=rates, classes=6
        ).eval()
    theirs.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images(2)), theirs(images(2)))
    assert RATES[stride] == rates


def test_every_tensor_of_the_trunk_lands() -> None:
    backbone = checkpoints.load("embedded")
    model = segmenter(backbone, 11, output_stride=4)
    own = {k.removeprefix("encoder.model."): v for k, v in model.state_dict().items() if k.startswith(TRUNK)}
    assert own.keys() == backbone.state_dict.keys()
    for key, value in backbone.state_dict.items():
        assert torch.equal(own[key], value), key
        assert own[key].data_ptr() != value.data_ptr()


def test_the_layer_that_makes_an_efficientnets_vector_is_all_that_stays_behind() -> None:
    backbone = trained("tf_efficientnet_lite0")
    own = dict(segmenter(backbone, 11).get_submodule("encoder.model").state_dict())
    vector = {key for key in backbone.state_dict if key.startswith(("conv_head.", "bn2."))}
    assert len(vector) == 6
    assert own.keys() == backbone.state_dict.keys() - vector
    assert all(torch.equal(value, backbone.state_dict[key]) for key, value in own.items())
    broken = {key: value for key, value in backbone.state_dict.items() if key != "blocks.6.0.bn3.bias"}
    with pytest.raises(InputError, match=r"1 keys missing \(blocks\.6\.0\.bn3\.bias\)"):
        segmenter(replace(backbone, state_dict=broken), 11)


def test_the_trunks_parameters_have_a_prefix_of_their_own() -> None:
    backbone = untrained("resnet50_clip_gap")
    model = segmenter(backbone, 5)
    trunk = {name for name, _ in model.named_parameters() if name.startswith(TRUNK)}
    assert len(trunk) == len(list(timm.create_model(backbone.arch, num_classes=0).parameters()))
    rest = {name.partition(".")[0] for name, _ in model.named_parameters() if name not in trunk}
    assert rest == {"decoder", "segmentation_head"}


def test_decoder_and_head_are_kaiming_normal() -> None:
    model = segmenter(untrained("resnet18"), 2000)
    weights = {name: p.detach() for name, p in model.named_parameters() if not name.startswith(TRUNK)}
    convolutions = {name: w for name, w in weights.items() if w.dim() == 4}
    assert len(convolutions) == 15
    for name, weight in convolutions.items():
        deviation = math.sqrt(2 / (weight.shape[1] * weight.shape[2] * weight.shape[3]))
        assert float(weight.std()) == pytest.approx(deviation, rel=0.05), name
    head = convolutions["segmentation_head.0.weight"]
    fourth = float((head / head.std()).pow(4).mean())
    assert fourth == pytest.approx(3.0, abs=0.05)  # normal, not uniform (1.8)
    assert (weights["segmentation_head.0.bias"] == 0).all()
    assert (weights["decoder.block1.1.weight"] == 1).all()


def test_the_seed_decides_decoder_and_head_alone() -> None:
    backbone = untrained("test_resnet")
    first, again, other = (segmenter(backbone, 5, seed=seed) for seed in (0, 0, 1))
    assert same(first, again)
    differ = {key for key, value in first.state_dict().items() if not torch.equal(value, other.state_dict()[key])}
    assert differ == {name for name, p in first.named_parameters() if p.dim() == 4 and not name.startswith(TRUNK)}


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    backbone = untrained("test_resnet")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = segmenter(backbone, 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, segmenter(backbone, 5))
    assert all(module.training for module in first.modules())


@pytest.mark.parametrize(
    ("arch", "stride", "size"), [("test_resnet", 16, 128), ("resnet20", 4, 80), ("tf_efficientnet_lite0", 16, 128)]
)
def test_every_parameter_gets_a_gradient(arch: str, stride: int, size: int) -> None:
    """One without would stop distributed training at its second step."""
    model = segmenter(untrained(arch), 5, output_stride=stride)
    model(images(2, size, size)).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


def test_a_trunk_for_small_images_has_a_decoder_of_its_width() -> None:
    model = segmenter(checkpoints.load("embedded"), 5, output_stride=4)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.dilation != (1, 1)]
    assert [(m.dilation, m.in_channels) for m in convolutions] == [((rate, rate), 64) for rate in (6, 12, 18)]
    assert sum(p.numel() for p in model.get_submodule("decoder").parameters()) < 60_000


def paths_reach_every_layer(method: str, model: nn.Module, size: int) -> None:
    """Finite scores in each layer, some above zero; taps of atrous convolutions that see only padding have 0."""
    labels = torch.randint(0, 5, (2, size, size), generator=torch.Generator().manual_seed(1))
    labels[:, :4] = 255
    scores = score(method, model, [(images(2, size, size), labels)])
    assert {name.partition(".")[0] for name in scores} == {"encoder", "decoder", "segmentation_head"}
    assert scores.keys() == {name for name, p in model.named_parameters() if p.dim() == 4}
    for name, values in scores.items():
        assert bool(torch.isfinite(values).all()), name
        assert bool((values > 0).any()), name
        if ".aspp.0.convs" not in name:
            assert float((values > 0).double().mean()) > 0.99, name


@pytest.mark.parametrize("method", ["px", "synflow-l2"])
@pytest.mark.parametrize(
    ("arch", "stride", "size"),
    [("test_resnet", 16, 64), ("test_resnet", 8, 64), ("resnet20", 4, 32), ("tf_efficientnet_lite0", 16, 128)],
)
def test_paths_run_through_encoder_decoder_and_head(method: str, arch: str, stride: int, size: int) -> None:
    paths_reach_every_layer(method, segmenter(trained(arch), 5, output_stride=stride), size)


@pytest.mark.large
@pytest.mark.slow
@pytest.mark.parametrize("method", ["px", "synflow-l2"])
@pytest.mark.parametrize("arch", ["resnet50", "resnet50_clip_gap"])
def test_paths_run_through_a_resnet50(method: str, arch: str) -> None:
    paths_reach_every_layer(method, segmenter(trained(arch), 5), 128)


@pytest.mark.large
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::transfer.pruning.rounds.CollapseWarning")
def test_px_at_the_highest_sparsity_leaves_every_class_a_path() -> None:
    """98.2 % in 100 rounds. Other layers may empty, which prune says itself; the image still reaches every class."""
    model = segmenter(trained("resnet50"), 21)
    labels = torch.randint(0, 21, (2, 64, 64), generator=torch.Generator().manual_seed(1))
    masks = prune(model, [(images(2, 64, 64), labels)], method="px", sparsity=0.982)
    assert masks.kept == masks.total - math.floor(0.982 * masks.total + 0.5)
    connected = live(model, masks, images(1, 64, 64))
    assert connected["segmentation_head.0.weight"].flatten(1).any(1).all()


@pytest.mark.parametrize("classes", [0, -1])
def test_no_class_is_refused(classes: int) -> None:
    with pytest.raises(InputError, match=f"num_classes is {classes}; give 1 or more"):
        segmenter(untrained("test_resnet"), classes)


@pytest.mark.parametrize(
    ("arch", "stride", "line"),
    [
        ("test_resnet", 32, "output_stride is 32; test_resnet allows 8 or 16"),
        ("test_resnet", 4, "output_stride is 4; test_resnet allows 8 or 16"),
        ("test_resnet", 0, "output_stride is 0; test_resnet allows 8 or 16"),
        ("resnet20", 16, "output_stride is 16; resnet20 allows 4"),
        ("test_vit", 16, "test_vit gives no feature maps at 1/2"),
        ("darknet17", 16, "darknet17 gives no feature maps at 1/2"),
        ("vgg11", 16, r"but features_20 \(MaxPool2d\) cannot be dilated; choose a network that halves by conv"),
        ("convnext_atto", 16, r"but stages_3\.downsample\.1 \(Conv2d\) cannot be dilated"),
    ],
)
def test_what_the_architecture_cannot_do_is_refused(arch: str, stride: int, line: str) -> None:
    backbone = replace(untrained("test_resnet"), arch=arch)
    with pytest.raises(InputError, match=line) as caught:
        segmenter(backbone, 5, output_stride=stride)
    assert "\n" not in str(caught.value)


def test_an_unknown_architecture_is_refused() -> None:
    backbone = replace(untrained("test_resnet"), arch="resnet50x")
    with pytest.raises(InputError, match="unknown architecture 'resnet50x'; did you mean resnet50"):
        segmenter(backbone, 5)


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        (lambda state: state.pop("conv1.0.weight"), r"1 keys missing \(conv1\.0\.weight\)"),
        (lambda state: state.update({"neck.weight": torch.zeros(3)}), r"1 keys would be lost \(neck\.weight\)"),
        (lambda state: state.update({"bn1.weight": torch.zeros(3)}), r"another shape than test_resnet: bn1\.weight"),
    ],
    ids=["missing", "extra", "shape"],
)
def test_weights_of_another_network_are_refused(broken: Callable[[dict[str, Tensor]], None], line: str) -> None:
    backbone = untrained("test_resnet")
    state = dict(backbone.state_dict)
    broken(state)
    with pytest.raises(InputError, match=line) as caught:
        segmenter(replace(backbone, state_dict=state), 5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("stride", "height", "width"), [(16, 65, 64), (16, 64, 72), (8, 513, 513)])
def test_sides_that_do_not_divide_are_refused(stride: int, height: int, width: int) -> None:
    model = segmenter(untrained("test_resnet"), 5, output_stride=stride).eval()
    with pytest.raises(InputError, match=f"images are {height}×{width} px; .* multiples of {stride}"):
        model(torch.zeros(1, 3, height, width))


def test_a_training_batch_of_one_is_refused() -> None:
    model = segmenter(untrained("test_resnet"), 5)
    with pytest.raises(InputError, match="a training batch has 1 image"):
        model(images(1))
    assert model(images(2)).shape == (2, 5, 64, 96)
    assert model.eval()(images(1)).shape == (1, 5, 64, 96)


@pytest.mark.large
@pytest.mark.slow
def test_nothing_is_downloaded_and_nothing_warns() -> None:
    """In a process of its own, so that imports count; without a network."""
    code = (
        "import socket, warnings; warnings.simplefilter('error')\n"
        "def refuse(*args): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "import checkpoints; from transfer.models import segmenter\n"
        "segmenter(checkpoints.load('random:resnet18'), 3)\n"
        "segmenter(checkpoints.load('embedded'), 3, output_stride=4)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
