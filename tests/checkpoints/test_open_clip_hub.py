"""``open_clip:<model>/<tag>``: every ResNet that open_clip lists gives the map that its attention pool would see."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.model import CLIP
from open_clip.pretrained import download_pretrained
from safetensors.torch import save_file
from torch import nn

import checkpoints
from checkpoints import InputError, NotReady, only_looking, open_clip_hub

from .loopback import Site
from .networks import randomized

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
TEXT = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}  # is dropped: as small as can be


def test_every_listed_resnet_is_known() -> None:
    listed = [pair for pair in open_clip.list_pretrained() if pair[0].startswith("RN")]
    assert [tuple(name.split("/")) for name in open_clip_hub.resnets()] == listed
    assert {model for model, _ in listed} >= {"RN50", "RN101", "RN50x4", "RN50x16", "RN50x64"}
    for name in open_clip_hub.resnets():
        model, tag = name.split("/")
        entry, stated = checkpoints.describe(f"open_clip:{name}"), open_clip.get_pretrained_cfg(model, tag)
        assert f"{entry.source.hub}/" == stated["hf_hub"]
        assert (entry.mean, entry.std, entry.interpolation) == (stated["mean"], stated["std"], "bicubic")
        assert entry.input_size[1] == open_clip.get_model_config(model)["vision_cfg"]["image_size"]
        theirs = timm.get_pretrained_cfg(f"{entry.arch}.{tag}")
        assert (theirs.license.upper(), theirs.input_size) == (entry.licence, entry.input_size)
        assert "arXiv" in (entry.paper or "")


def published(model: str) -> Any:
    """open_clip's model with random weights, its own image tower and a small text tower."""
    config = open_clip.get_model_config(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return randomized(CLIP(config["embed_dim"], vision_cfg=config["vision_cfg"], text_cfg=TEXT))


LARGE = ("RN50x4", "RN50x16", "RN50x64")
SIZES = ["RN50", "RN101", *(pytest.param(large, marks=pytest.mark.large) for large in LARGE)]


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("model", SIZES)
def test_the_map_is_open_clips_before_the_attention_pool(home: Path, model: str) -> None:
    theirs, name = published(model), f"open_clip:{model}/openai"
    home.mkdir()
    save_file(theirs.state_dict(), home / checkpoints.describe(name).source.file)
    backbone = checkpoints.load(name)
    assert backbone.card.name == name
    tower = theirs.visual
    tower.attnpool = nn.Identity()
    expected = tower(IMAGES)
    ours = timm.create_model(backbone.arch, num_classes=0).eval()
    ours.load_state_dict(dict(backbone.state_dict), strict=True)
    assert (ours.forward_features(IMAGES) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_file_for_clip_serves_its_own_name_here_too() -> None:
    assert checkpoints.describe("open_clip:RN50/openai").source.file == checkpoints.describe("clip").source.file


def test_a_weights_file_without_an_image_tower_is_refused(home: Path) -> None:
    home.mkdir()
    save_file({"logit_scale": torch.zeros(())}, home / "resnet101_clip.openai.safetensors")
    with pytest.raises(InputError, match="does not fit resnet101_clip_gap"):
        checkpoints.load("open_clip:RN101/openai")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("RN50x5/openai", "open_clip has no model 'RN50x5'; did you mean RN50x4"),
        ("/openai", "open_clip has no model ''; known: RN50, RN101"),
        ("RN50/opnai", "open_clip has no weights 'opnai' of RN50; did you mean openai"),
        ("RN50x64/cc12m", "open_clip has no weights 'cc12m' of RN50x64; known: openai$"),
        ("RN101", "open_clip wants a tag, as open_clip:RN101/openai; known: openai, yfcc15m$"),
        ("ViT-B-32/openai", "open_clip's ViT-B-32 is no ResNet, .*; choose RN50, RN101, RN50x4"),
        ("convnext_base/laion400m_s13b_b51k", "open_clip's convnext_base is no ResNet"),
    ],
)
def test_what_open_clip_does_not_have_is_one_line(name: str, line: str) -> None:
    for call in (checkpoints.load, checkpoints.obtain, checkpoints.verify):
        with pytest.raises(InputError, match=line) as caught:
            call(f"open_clip:{name}")
        assert "\n" not in str(caught.value)


def test_a_dry_run_downloads_nothing(home: Path) -> None:
    with only_looking(), pytest.raises(NotReady, match=r"resnet50x4_clip\.openai/.*; a run downloads it"):
        checkpoints.load("open_clip:RN50x4/openai")
    assert not home.exists()
    backbone = checkpoints.stand_in("open_clip:RN50/cc12m", seed=0)
    assert backbone.arch == "resnet50_clip_gap"
    assert backbone.card.name == "open_clip:RN50/cc12m"


def test_no_network_is_one_line(home: Path) -> None:
    with pytest.raises(InputError, match=f"put it at {home / 'resnet101_clip.yfcc15m.safetensors'}") as caught:
        checkpoints.load("open_clip:RN101/yfcc15m")
    assert "\n" not in str(caught.value)


def test_open_clip_names_no_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its older versions, which gave addresses of archives with code."""
    stated = open_clip.get_pretrained_cfg("RN50", "openai") | {"hf_hub": ""}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: stated)
    with pytest.raises(InputError, match=r"names no repository of RN50/openai; pip install -U open_clip_torch"):
        checkpoints.describe("open_clip:RN50/openai")


def test_the_file_is_the_one_that_open_clip_downloads(hub: Site) -> None:
    """In the cache that both share: whoever came first, the other asks for nothing more."""
    content = b"weights"
    hub.add("timm/resnet101_clip.openai/resolve/main/open_clip_model.safetensors", content)
    hub.etag = f'"{hashlib.sha256(content).hexdigest()}"'
    path = checkpoints.obtain("open_clip:RN101/openai")
    assert path.read_bytes() == content
    asked = [method for method, _, _ in hub.requests]
    assert Path(download_pretrained(open_clip.get_pretrained_cfg("RN101", "openai"))).samefile(path)
    assert checkpoints.verify("open_clip:RN101/openai").against == "sha256"
    assert asked.count("GET") == [method for method, _, _ in hub.requests].count("GET") == 1
