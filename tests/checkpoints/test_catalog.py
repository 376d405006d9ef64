"""The catalogue is complete and says no more than is known; names are cheap; the hub's files are found and checked."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from safetensors.torch import save
from torch import nn

import checkpoints
from checkpoints import InputError, NotReady, catalog
from checkpoints.fetch import Source, obtain

from .loopback import Site

PUBLISHED = ["imagenet-v1", "imagenet-v2", "imagenet-lite0", "mocov2", "mocov2-200ep", "clip", "dino"]


def test_the_names() -> None:
    assert checkpoints.names() == [*PUBLISHED, "embedded"]


def test_names_and_descriptions_import_no_torch() -> None:
    code = (
        "import sys, checkpoints; checkpoints.names(); checkpoints.describe('mocov2');"
        "print(sorted({'torch', 'timm', 'numpy', 'huggingface_hub', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_entry_is_complete(name: str) -> None:
    entry = checkpoints.describe(name)
    assert timm.is_model(entry.arch)
    assert len(entry.mean) == len(entry.std) == len(entry.input_size) == 3
    assert entry.licence
    assert "arXiv" in (entry.paper or "")
    assert entry.source.address().startswith("https://")  # type: ignore[union-attr]
    assert entry.non_commercial == ("-NC" in entry.licence)


def test_torchvisions_files_are_those_of_torchvision() -> None:
    from torchvision.models import ResNet50_Weights

    for name, weights in zip(("imagenet-v1", "imagenet-v2"), ResNet50_Weights, strict=True):
        source = catalog.entries()[name].source
        assert source.url == weights.url
        assert source.file == weights.url.rpartition("/")[2] == f"resnet50-{source.sha256[:8]}.pth"
        assert source.bytes == pytest.approx(weights.meta["_file_size"] * 2**20, abs=600)


def test_clips_file_is_open_clips() -> None:
    from open_clip import get_pretrained_cfg

    published, entry = get_pretrained_cfg("RN50", "openai"), checkpoints.describe("clip")
    assert published["hf_hub"] == f"{entry.source.hub}/"
    assert (published["mean"], published["std"]) == (entry.mean, entry.std)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("imagnet-v1", "did you mean imagenet-v1"),
        ("moco", "did you mean mocov2"),
        ("zzz", "random:<arch>"),
        ("timm:resnet5", "did you mean resnet50"),
        ("timm:resnet50.tv_in2k", r"did you mean resnet50\.tv"),
        ("timm:", "no model ''"),
    ],
)
def test_unknown_names_are_told_near_ones(name: str, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        checkpoints.load(name)
    assert "\n" not in str(caught.value)


def test_only_published_backbones_are_obtained() -> None:
    for call in (checkpoints.obtain, checkpoints.verify, checkpoints.describe):
        with pytest.raises(InputError, match="no published backbone"):
            call("random:resnet20")


def test_verifying_downloads_nothing(home: Path) -> None:
    with pytest.raises(NotReady, match=f"put the file at {home / 'resnet50-0676ba61.pth'}"):
        checkpoints.verify("imagenet-v1")


def test_a_wrong_file_in_the_user_folder_is_refused_and_stays(home: Path) -> None:
    home.mkdir()
    path = home / "moco_v2_800ep_pretrain.pth.tar"
    path.write_bytes(b"something else")
    for call in (checkpoints.load, checkpoints.obtain, checkpoints.verify):
        with pytest.raises(InputError, match="expected a04e12f8; delete"):
            call("mocov2")
    assert path.exists()


def test_a_folder_where_the_file_should_be_is_refused(home: Path) -> None:
    (home / "resnet50-0676ba61.pth").mkdir(parents=True)
    with pytest.raises(InputError, match="is a folder"):
        checkpoints.load("imagenet-v1")


def test_a_file_without_a_published_hash_says_so(home: Path) -> None:
    home.mkdir()
    (home / "dino_resnet50_pretrain.pth").write_bytes(b"weights")
    verified = checkpoints.verify("dino")
    assert verified.against == "nothing"
    assert verified.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_another_root_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "dino_resnet50_pretrain.pth").write_bytes(b"weights")
    assert checkpoints.obtain("dino", root=tmp_path) == tmp_path / "dino_resnet50_pretrain.pth"


def test_no_hub_says_which_file_to_put_where(home: Path) -> None:
    with pytest.raises(InputError, match=f"put it at {home / 'resnet50_clip.openai.safetensors'}") as caught:
        checkpoints.load("clip")
    assert "https://huggingface.co/timm/resnet50_clip.openai/resolve/main/open_clip_model.safetensors" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def serve(hub: Site, repository: str, content: bytes) -> None:
    hub.add(f"{repository}/resolve/main/model.safetensors", content)
    hub.etag = f'"{hashlib.sha256(content).hexdigest()}"'


def test_a_hub_file_is_downloaded_once_found_again_and_checked(hub: Site, small: nn.Module) -> None:
    content = save(small.state_dict())
    serve(hub, "timm/test_resnet.r160_in1k", content)
    path = checkpoints.obtain("timm:test_resnet")
    assert path.read_bytes() == content
    asked = len(hub.requests)
    assert checkpoints.load("timm:test_resnet").card.sha256 == hashlib.sha256(content).hexdigest()
    assert checkpoints.verify("timm:test_resnet").against == "sha256"
    assert len(hub.requests) == asked
    path.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="has sha256"):
        checkpoints.verify("timm:test_resnet")


@pytest.mark.usefixtures("hub")
def test_a_repository_that_the_hub_does_not_have(home: Path) -> None:
    with pytest.raises(InputError, match="cannot download") as caught:
        obtain(Source("x.safetensors", hub="nobody/nothing"))
    assert str(home / "x.safetensors") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.network
@pytest.mark.filterwarnings("ignore:.*forbids commercial use")
@pytest.mark.parametrize("name", [*PUBLISHED, "timm:test_resnet.r160_in1k"])
def test_the_published_file_is_what_the_catalogue_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    backbone = checkpoints.load(name)
    timm.create_model(backbone.arch, num_classes=0).load_state_dict(dict(backbone.state_dict), strict=True)
