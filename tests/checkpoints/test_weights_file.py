"""Whatever cannot be used is refused in one line that says what it is; no code in a file ever runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import checkpoints
from checkpoints import InputError

from .networks import trunk_of

ARCH = "test_resnet"


def refusal(path: Path, arch: str | None = ARCH) -> str:
    with pytest.raises(InputError) as caught:
        checkpoints.load(f"{path}@{arch}" if arch else path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


class Hostile:
    """A pickle of this writes a file when it is read by ``pickle.load``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_code(tmp_path: Path, zipped: bool) -> None:
    content = {"state_dict": Hostile(tmp_path / "ran")}
    torch.save(content, tmp_path / "bad.pth", _use_new_zipfile_serialization=zipped)
    assert "wants to run code (posix.system)" in refusal(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


def test_a_namespace_beside_the_weights(tmp_path: Path, small: nn.Module) -> None:
    content = {"student": small.state_dict(), "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "dino_full.pth")
    assert "wants to run code (argparse.Namespace)" in refusal(tmp_path / "dino_full.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_archive(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "bad.pt"))
    assert "TorchScript" in refusal(tmp_path / "bad.pt")


@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["bad.pth", "old.pth", "bad.safetensors"])
def test_a_truncated_file(tmp_path: Path, small: nn.Module, name: str, part: float) -> None:
    path = tmp_path / name
    if name == "bad.safetensors":
        save_file(small.state_dict(), path)
    else:
        torch.save(small.state_dict(), path, _use_new_zipfile_serialization=name == "bad.pth")
    os.truncate(path, int(part * path.stat().st_size))
    assert "truncated or no weights file" in refusal(path)


@pytest.mark.parametrize("name", ["page.pth", "page.safetensors"])
def test_a_web_page(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<!doctype html><title>Sign in</title>" * 10)
    assert "no weights file" in refusal(tmp_path / name)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], torch.ones(3)])
def test_a_file_without_named_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "bad.pth")
    assert "no tensors by name" in refusal(tmp_path / "bad.pth")


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    assert "is a folder" in refusal(tmp_path, None)


def test_an_absent_file(tmp_path: Path) -> None:
    assert "not there" in refusal(tmp_path / "none.pth")


def test_a_file_without_an_architecture(tmp_path: Path, small: nn.Module) -> None:
    torch.save(small.state_dict(), tmp_path / "made.pth")
    assert "@resnet50" in refusal(tmp_path / "made.pth", None)


def test_missing_keys_are_named_and_counted(tmp_path: Path, small: nn.Module) -> None:
    weights = trunk_of(small.state_dict())
    del weights["conv1.0.weight"], weights["layer1.0.bn1.running_var"]
    torch.save(weights, tmp_path / "bad.pth")
    line = refusal(tmp_path / "bad.pth")
    assert "2 keys (conv1.0.weight, layer1.0.bn1.running_var) missing, 0 keys too many" in line


def test_extra_keys_are_named_and_counted(tmp_path: Path, small: nn.Module) -> None:
    torch.save(small.state_dict() | {"layer9.weight": torch.ones(2)}, tmp_path / "bad.pth")
    assert "0 keys missing, 1 keys (layer9.weight) too many" in refusal(tmp_path / "bad.pth")


def test_another_architecture(tmp_path: Path, small: nn.Module) -> None:
    torch.save(small.state_dict(), tmp_path / "bad.pth")
    assert "does not fit resnet18" in refusal(tmp_path / "bad.pth", "resnet18")


def test_another_shape(tmp_path: Path, small: nn.Module) -> None:
    wide = {"layer1.0.conv1.weight": torch.ones(3, 3, 3, 3)}
    torch.save(small.state_dict() | wide, tmp_path / "bad.pth")
    assert "layer1.0.conv1.weight has shape (3, 3, 3, 3), expected (32, 32" in refusal(tmp_path / "bad.pth")


def test_an_unknown_architecture(tmp_path: Path, small: nn.Module) -> None:
    torch.save(small.state_dict(), tmp_path / "made.pth")
    with pytest.raises(InputError, match="unknown architecture 'resnet5'; did you mean resnet50"):
        checkpoints.load(f"{tmp_path / 'made.pth'}@resnet5")


def test_a_network_that_was_never_trained_is_told(tmp_path: Path) -> None:
    torch.save(dict(checkpoints.load(f"random:{ARCH}").state_dict), tmp_path / "made.pth")
    with pytest.warns(UserWarning, match="was never trained"):
        checkpoints.load(f"{tmp_path / 'made.pth'}@{ARCH}")
