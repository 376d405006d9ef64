"""The backbone that ships with the package: written by one call, found without a network, checked by its hash."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import checkpoints
from checkpoints import InputError, architectures, embedded

from .networks import assert_same, randomized, trunk_of

CARD: dict[str, Any] = {
    "arch": "resnet20",
    "data": "Fashion-MNIST",
    "licence": "Apache-2.0",
    "accuracy": 91.5,
    "command": "python scripts/make_embedded.py",
    "seed": 0,
    "mean": [0.2861, 0.2861, 0.2861],
    "std": [0.3530, 0.3530, 0.3530],
    "interpolation": "bilinear",
    "input_size": [3, 32, 32],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(embedded, "FOLDER", tmp_path / "shipped")
    return tmp_path / "shipped"


@pytest.fixture
def trained(folder: Path) -> dict[str, Any]:
    model = randomized(architectures.CifarResNet())
    embedded.write(model.state_dict(), CARD, folder)
    return model.state_dict()


def test_it_comes_back_without_its_head(trained: dict[str, Any], home: Path) -> None:
    backbone = checkpoints.load("embedded")
    assert_same(backbone.state_dict, trunk_of(trained))
    assert backbone.arch == "resnet20"
    assert backbone.std == (0.3530, 0.3530, 0.3530)
    assert backbone.input_size == (3, 32, 32)
    assert "91.5" in backbone.card.notes
    assert not home.exists()


def test_the_card_holds_what_was_said_and_the_files_hash(trained: dict[str, Any], folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    verified = checkpoints.verify("embedded")
    assert card == CARD | {"sha256": verified.sha256}
    assert verified.against == "sha256"
    assert sorted(os.listdir(folder)) == ["card.json", "resnet20_fashion_mnist.safetensors"]


def test_a_damaged_file_is_refused(trained: dict[str, Any], folder: Path) -> None:
    path = folder / "resnet20_fashion_mnist.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="has sha256"):
        checkpoints.load("embedded")


@pytest.mark.usefixtures("folder")
def test_its_absence_is_said() -> None:
    with pytest.raises(InputError, match=r"lacks resnet20_fashion_mnist\.safetensors and card\.json"):
        checkpoints.load("embedded")


def test_a_card_must_be_complete(folder: Path) -> None:
    with pytest.raises(InputError, match="lacks accuracy, seed"):
        embedded.write({}, {key: CARD[key] for key in CARD if key not in ("accuracy", "seed")}, folder)
    assert not folder.exists()
