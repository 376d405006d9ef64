"""A server, an empty user folder, and random networks, for every test of this folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from checkpoints import catalog
from checkpoints.fetch import Source

from .loopback import Site, serve
from .networks import randomized


@pytest.fixture
def site() -> Iterator[Site]:
    yield from serve()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user folder and hub cache, and a hub that cannot be reached."""
    import huggingface_hub.constants

    folder = tmp_path / "home"
    monkeypatch.setenv("TRANSFER_HOME", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("checkpoints.download.PAUSE", 0.0)
    return folder


@pytest.fixture
def publish(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Put a file made here where a catalogue entry's download would be, and its hash into the catalogue."""

    def place(name: str, path: Path) -> None:
        entry = catalog.entries()[name]
        source = Source(entry.source.file, url="http://127.0.0.1:9/none", sha256=_sha256(path))
        entries = catalog.entries() | {name: replace(entry, source=source)}
        monkeypatch.setattr(catalog, "entries", lambda: entries)
        home.mkdir(exist_ok=True)
        (home / source.file).symlink_to(path)

    return place


@pytest.fixture
def hub(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A hub on the loopback that answers as the real one does for a file in large-file storage."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(
        huggingface_hub.constants.ENDPOINT, site.address
    )
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", site.address)
    site.headers["X-Repo-Commit"] = "0" * 40
    return site


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def small() -> nn.Module:
    """A small residual network with a head of 10 classes."""
    return randomized(timm.create_model("test_resnet", num_classes=10))


@pytest.fixture(scope="session")
def resnet50() -> nn.Module:
    """timm's graph of the 50-layer network, with a head of 1000 classes."""
    with torch.random.fork_rng(devices=[]):
        return randomized(timm.create_model("resnet50", zero_init_last=False))
