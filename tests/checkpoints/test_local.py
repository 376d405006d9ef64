"""A backbone that is saved comes back the same, by its path alone, and timm reads it too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import checkpoints
from checkpoints import Backbone, Card, InputError

from .networks import assert_same, trunk_of


@pytest.fixture
def backbone(small: nn.Module) -> Backbone:
    card = Card("mine", licence="CC0-1.0", notes="made in a test")
    weights = trunk_of(small.state_dict())
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    return Backbone("test_resnet", weights, mean, std, "bicubic", (3, 64, 64), card)


def test_saving_and_loading_is_the_identity(tmp_path: Path, backbone: Backbone) -> None:
    path = checkpoints.save(backbone, tmp_path / "new" / "mine.safetensors", sparsity="0.9")
    for again in (checkpoints.load(path), checkpoints.load(f"{path}@test_resnet")):
        assert_same(again.state_dict, backbone.state_dict)
        assert again.digest() == backbone.digest()
        assert replace(again.card, sha256=None) == backbone.card
        names = ("arch", "mean", "std", "interpolation", "input_size")
        assert [getattr(again, name) for name in names] == [getattr(backbone, name) for name in names]
    assert [file.name for file in path.parent.iterdir()] == ["mine.safetensors"]


def test_the_metadata_are_strings_and_hold_what_was_added(tmp_path: Path, backbone: Backbone) -> None:
    path = checkpoints.save(backbone, tmp_path / "mine.safetensors", sparsity="0.9")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["arch"] == "test_resnet"
    assert json.loads(metadata["mean"]) == [0.1, 0.2, 0.3]
    assert metadata["sparsity"] == "0.9"


def test_the_same_backbone_gives_the_same_bytes(tmp_path: Path, backbone: Backbone) -> None:
    files = [checkpoints.save(backbone, tmp_path / f"{n}.safetensors").read_bytes() for n in range(5)]
    assert len(set(files)) == 1


def test_timm_reads_it(tmp_path: Path, backbone: Backbone) -> None:
    path = checkpoints.save(backbone, tmp_path / "mine.safetensors")
    model = timm.create_model("test_resnet", num_classes=0, checkpoint_path=str(path))
    assert_same(model.state_dict(), backbone.state_dict)


def test_a_licence_goes_with_its_weights(tmp_path: Path, backbone: Backbone) -> None:
    card = replace(backbone.card, licence="CC-BY-NC-4.0", non_commercial=True)
    path = checkpoints.save(replace(backbone, card=card), tmp_path / "mine.safetensors")
    with pytest.warns(UserWarning, match="forbids commercial use"):
        checkpoints.load(path)


def test_shared_and_strided_tensors_are_written_out(tmp_path: Path, backbone: Backbone) -> None:
    last = backbone.state_dict["layer1.0.conv1.weight"].to(memory_format=torch.channels_last)
    weights = {**backbone.state_dict, "layer1.0.conv1.weight": last}
    path = checkpoints.save(replace(backbone, state_dict=weights), tmp_path / "mine.safetensors")
    assert checkpoints.load(path).digest() == backbone.digest()


def test_a_name_with_an_at_sign_in_it(tmp_path: Path, backbone: Backbone) -> None:
    (tmp_path / "me@home").mkdir()
    path = checkpoints.save(backbone, tmp_path / "me@home" / "a@b.safetensors")
    assert checkpoints.load(path).arch == checkpoints.load(f"{path}@test_resnet").arch == "test_resnet"


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("a file, where a folder is wanted")
    return tmp_path / "file" / "mine.safetensors"


def test_what_cannot_be_written_is_said(tmp_path: Path, backbone: Backbone, read_only: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        checkpoints.save(backbone, read_only)
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        checkpoints.save(backbone, tmp_path / "mine.pth")


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoints.save(backbone, tmp_path / "mine.safetensors")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        checkpoints.save(backbone, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["mine.safetensors"]


@pytest.mark.parametrize("damage", [{"mean": "[0.1,"}, {"card": "{"}, {"card": '{"colour": "red"}'}])
def test_damaged_metadata_are_refused(tmp_path: Path, small: nn.Module, damage: dict[str, str]) -> None:
    save_file(small.state_dict(), tmp_path / "bad.safetensors", {"arch": "test_resnet"} | damage)
    with pytest.raises(InputError, match="damaged metadata"):
        checkpoints.load(tmp_path / "bad.safetensors")


def test_the_digest_tells_every_difference(backbone: Backbone) -> None:
    weights = dict(backbone.state_dict)
    key = "layer1.0.conv1.weight"
    reordered = dict(reversed(list(weights.items())))
    others = [
        weights | {key: weights[key].flatten()},
        weights | {key: weights[key].double()},
        weights | {key: weights[key] + (torch.arange(weights[key].numel()) == 5).view_as(weights[key])},
        {name.replace("layer1", "layer7"): value for name, value in weights.items()},
    ]
    digests = [replace(backbone, state_dict=other).digest() for other in others]
    assert replace(backbone, state_dict=reordered).digest() == backbone.digest()
    assert len({backbone.digest(), *digests}) == 5
