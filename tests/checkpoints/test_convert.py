"""Files made in the published formats give the trunk that made them, whatever their keys are called."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import checkpoints
from checkpoints import InputError

from .networks import assert_same, features, randomized, trunk_of

Publish = Callable[[str, Path], None]
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_torchvision_gives_the_same_features(tmp_path: Path, publish: Publish) -> None:
    import torchvision

    model = randomized(torchvision.models.resnet50())
    old = {key: value for key, value in model.state_dict().items() if "num_batches" not in key}  # as V1's file is
    torch.save(old, tmp_path / "made.pth")
    publish("imagenet-v1", tmp_path / "made.pth")
    backbone = checkpoints.load("imagenet-v1")
    model.fc = nn.Identity()
    assert torch.equal(features("resnet50", backbone.state_dict, IMAGES), model(IMAGES))
    assert backbone.arch == "resnet50"
    assert not backbone.state_dict["bn1.num_batches_tracked"]


@pytest.mark.parametrize("prefix", ["model.", "net.", "model.backbone_net."])
@pytest.mark.parametrize("container", ["state_dict", "model_state_dict"])
def test_one_prefix_of_any_name_is_taken_off(tmp_path: Path, small: nn.Module, container: str, prefix: str) -> None:
    weights = {f"{prefix}{key}": value for key, value in small.state_dict().items()}
    lightning = {container: weights | {"criterion.weight": torch.ones(3)}, "epoch": 3, "global_step": 12}
    torch.save(lightning, tmp_path / "last.ckpt")
    backbone = checkpoints.load(f"{tmp_path / 'last.ckpt'}@test_resnet")
    assert_same(backbone.state_dict, trunk_of(small.state_dict()))


def test_of_two_prefixes_none_is_guessed(tmp_path: Path, small: nn.Module) -> None:
    weights = {f"{name}.{key}": value for key, value in small.state_dict().items() for name in ("left", "right")}
    torch.save(weights, tmp_path / "two.pth")
    with pytest.raises(InputError, match=r"does not fit test_resnet: .* missing"):
        checkpoints.load(f"{tmp_path / 'two.pth'}@test_resnet")


@pytest.mark.parametrize("missing", ["layer1.0.conv1.weight", "bn1.running_var"])
def test_under_a_prefix_every_key_must_be_there(tmp_path: Path, small: nn.Module, missing: str) -> None:
    weights = {f"net.{key}": value for key, value in small.state_dict().items() if key != missing}
    torch.save(weights, tmp_path / "part.pth")
    with pytest.raises(InputError, match=f"does not fit test_resnet: 1 keys .{re.escape(missing)}. missing"):
        checkpoints.load(f"{tmp_path / 'part.pth'}@test_resnet")


def test_the_content_says_what_a_file_is_and_not_its_name(tmp_path: Path, small: nn.Module) -> None:
    save_file(trunk_of(small.state_dict()), tmp_path / "a.pth")
    torch.save(small.state_dict(), tmp_path / "b.safetensors")
    torch.save(small.state_dict(), tmp_path / "c.safetensors", _use_new_zipfile_serialization=False)
    for name in ("a.pth", "b.safetensors", "c.safetensors"):
        backbone = checkpoints.load(f"{tmp_path / name}@test_resnet")
        assert_same(backbone.state_dict, trunk_of(small.state_dict()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, small: nn.Module, value: float) -> None:
    weights = {key: tensor.clone() for key, tensor in small.state_dict().items()}
    weights["layer1.0.conv1.weight"].view(-1)[:2] = value
    torch.save(weights, tmp_path / "bad.pth")
    with pytest.raises(
        InputError, match=r"bad.pth.*: layer1.0.conv1.weight has 2 of \d+ values that are nan or infinite"
    ):
        checkpoints.load(f"{tmp_path / 'bad.pth'}@test_resnet")


def moco(model: nn.Module, prefix: str) -> dict[str, object]:
    """The layout of the authors' files: both encoders with their projection heads, and the queue."""
    trunk = trunk_of(model.state_dict())
    head = {f"fc.{layer}.{kind}": torch.ones(2) for layer in (0, 2) for kind in ("weight", "bias")}
    weights = {f"{prefix}encoder_q.{key}": value for key, value in (trunk | head).items()}
    weights |= {f"{prefix}encoder_k.{key}": value for key, value in (trunk | head).items()}
    weights |= {
        f"{prefix}queue": torch.zeros(128, 16),
        f"{prefix}queue_ptr": torch.zeros(1, dtype=torch.long),
    }
    return {
        "epoch": 800,
        "arch": "resnet50",
        "state_dict": weights,
        "optimizer": {"state": {}, "param_groups": []},
    }


def test_moco_gives_its_query_encoder_and_names_its_licence(
    tmp_path: Path, publish: Publish, resnet50: nn.Module
) -> None:
    torch.save(moco(resnet50, "module."), tmp_path / "made.pth.tar")
    publish("mocov2", tmp_path / "made.pth.tar")
    with pytest.warns(UserWarning, match=r"mocov2: its licence CC-BY-NC-4\.0 forbids commercial use"):
        backbone = checkpoints.load("mocov2")
    assert_same(backbone.state_dict, trunk_of(resnet50.state_dict()))
    assert backbone.card.non_commercial
    assert backbone.mean == (0.485, 0.456, 0.406)


def test_the_key_encoder_is_never_taken_for_the_query_encoder(tmp_path: Path, small: nn.Module) -> None:
    content = moco(small, "")
    keys: dict[str, Tensor] = content["state_dict"]  # type: ignore[assignment]
    torch.save({key: value for key, value in keys.items() if "encoder_q" not in key}, tmp_path / "made.pth")
    with pytest.raises(InputError, match="missing"):
        checkpoints.load(f"{tmp_path / 'made.pth'}@test_resnet")


@torch.no_grad()
def test_clip_gives_open_clips_map_averaged(tmp_path: Path, publish: Publish) -> None:
    from open_clip.modified_resnet import ModifiedResNet

    tower = randomized(ModifiedResNet([3, 4, 6, 3], output_dim=1024, heads=32, image_size=64, width=64))
    weights = {f"visual.{key}": value.contiguous() for key, value in tower.state_dict().items()}
    weights |= {"logit_scale": torch.zeros(()), "transformer.resblocks.0.ln_1.weight": torch.ones(4)}
    save_file(weights, tmp_path / "made.safetensors")
    publish("clip", tmp_path / "made.safetensors")
    backbone = checkpoints.load("clip")
    tower.attnpool = nn.Identity()
    expected = tower(IMAGES).mean((2, 3))
    got = features("resnet50_clip_gap", backbone.state_dict, IMAGES)
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert backbone.std == (0.26862954, 0.26130258, 0.27577711)
    assert backbone.interpolation == "bicubic"


PREFIXES = [
    "",
    "module.",
    "_orig_mod.",
    "_orig_mod.module.",
    "module._orig_mod.",
    "backbone.",
    "module.backbone.",
    "module.encoder.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("container", [None, "state_dict", "model", "teacher"])
def test_wrappers_and_containers_are_seen_through(
    tmp_path: Path, small: nn.Module, prefix: str, container: str | None
) -> None:
    weights = {f"{prefix}{key}": value for key, value in small.state_dict().items()}
    if prefix == "module.backbone.":
        weights["module.head.mlp.0.weight"] = torch.ones(3)
    torch.save({container: weights, "epoch": 1} if container else weights, tmp_path / "made.pth")
    backbone = checkpoints.load(f"{tmp_path / 'made.pth'}@test_resnet")
    assert_same(backbone.state_dict, trunk_of(small.state_dict()))


def test_the_teacher_is_preferred_to_the_student(tmp_path: Path, small: nn.Module) -> None:
    teacher = {f"backbone.{key}": value for key, value in small.state_dict().items()}
    student = {f"module.{key}": value + 1 for key, value in teacher.items()}
    torch.save({"student": student, "teacher": teacher}, tmp_path / "made.pth")
    backbone = checkpoints.load(f"{tmp_path / 'made.pth'}@test_resnet")
    assert_same(backbone.state_dict, trunk_of(small.state_dict()))


@pytest.mark.parametrize("name", ["made.pth", "made.pth.tar", "made.safetensors"])
def test_every_suffix_is_read(tmp_path: Path, small: nn.Module, name: str) -> None:
    (save_file if name.endswith("safetensors") else torch.save)(small.state_dict(), tmp_path / name)
    backbone = checkpoints.load(f"{tmp_path / name}@test_resnet")
    assert_same(backbone.state_dict, trunk_of(small.state_dict()))
    assert backbone.mean == timm.get_pretrained_cfg("test_resnet").mean


def test_half_precision_becomes_the_architectures_own(tmp_path: Path, small: nn.Module) -> None:
    torch.save({key: value.half() for key, value in small.state_dict().items()}, tmp_path / "made.pth")
    backbone = checkpoints.load(f"{tmp_path / 'made.pth'}@test_resnet")
    expected = trunk_of(small.state_dict())
    assert all(backbone.state_dict[key].dtype == expected[key].dtype for key in expected)


def test_timm_weights_come_from_the_user_folder(home: Path, small: nn.Module) -> None:
    home.mkdir()
    weights = timm.create_model("test_resnet", num_classes=1000).state_dict()
    save_file(weights, home / "test_resnet.r160_in1k.safetensors")
    with pytest.warns(UserWarning, match="never trained"):
        backbone = checkpoints.load("timm:test_resnet")
    assert backbone.card.name == "timm:test_resnet.r160_in1k"
    assert_same(backbone.state_dict, trunk_of(weights))


def test_timms_own_converters_are_used(tmp_path: Path) -> None:
    expected = timm.create_model("convnext_atto", num_classes=0).state_dict()
    renamed = {_as_facebook_names(key): value for key, value in expected.items()}
    assert not renamed.keys() & {"stem.0.weight", "head.norm.weight"}
    torch.save({"model": renamed}, tmp_path / "made.pth")
    assert_same(checkpoints.load(f"{tmp_path / 'made.pth'}@convnext_atto").state_dict, expected)


def _as_facebook_names(key: str) -> str:
    """The keys of ConvNeXt's authors, from timm's."""
    key = key.replace("stem.", "downsample_layers.0.").replace("head.norm", "norm")
    key = re.sub(r"stages\.(\d)\.downsample", r"downsample_layers.\1", key).replace(".blocks", "")
    return key.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
