"""A file that is not the one that was published is not opened: its hash is known before anything reads it."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors
import torch

import checkpoints
from checkpoints import catalog, embedded
from checkpoints.errors import InputError
from checkpoints.fetch import Source
from tests.checkpoints.loopback import Site

from .readers import saved
from .tiny_net import ARCH, trained

NAME = "mocov2"
SOUND = saved({"state_dict": {f"module.encoder_q.{key}": value for key, value in trained().state_dict().items()}})
SHA256, MD5 = hashlib.sha256(SOUND).hexdigest(), hashlib.md5(SOUND).hexdigest()
KNOWN = {"sha256": {"sha256": SHA256}, "first digits": {"sha256": SHA256[:8]}, "md5": {"md5": MD5}}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put the tiny network into the catalogue."""

    def publish(url: str, **hashes: str) -> None:
        source = Source("net.pth.tar", url=url, **hashes)
        entries = {NAME: replace(catalog.entries()[NAME], arch=ARCH, source=source)}
        monkeypatch.setattr(catalog, "entries", lambda: entries)

    return publish


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every call of a function that looks inside a weights file."""
    seen: list[str] = []
    for module, name in ((torch, "load"), (safetensors, "safe_open"), (zipfile, "ZipFile")):
        original = getattr(module, name)

        def noted(
            *args: object, _name: str = name, _original: Callable[..., object] = original, **options: object
        ) -> object:
            seen.append(_name)
            return _original(*args, **options)

        monkeypatch.setattr(module, name, noted)
    return seen


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", KNOWN)
def test_the_right_file_is_opened(
    site: Site, tmp_path: Path, known: Callable[..., None], opened: list[str], kind: str
) -> None:
    known(site.add("net.pth.tar", SOUND), **KNOWN[kind])
    assert checkpoints.load(NAME, root=tmp_path).arch == ARCH
    assert "load" in opened


@pytest.mark.parametrize("kind", KNOWN)
def test_a_download_with_a_wrong_hash_is_never_opened(
    site: Site, tmp_path: Path, known: Callable[..., None], opened: list[str], kind: str
) -> None:
    known(site.add("net.pth.tar", SOUND[:-1] + b"\x01"), **KNOWN[kind])
    with pytest.raises(InputError, match="expected"):
        checkpoints.load(NAME, root=tmp_path)
    with pytest.raises(InputError, match="expected"):
        checkpoints.obtain(NAME, root=tmp_path)
    assert opened == []
    assert {path.name for path in tmp_path.iterdir()} <= {"net.pth.tar.lock"}


@pytest.mark.parametrize("kind", KNOWN)
def test_a_file_that_changed_on_this_machine_is_never_opened(
    tmp_path: Path, known: Callable[..., None], opened: list[str], kind: str
) -> None:
    known("http://127.0.0.1:9/none", **KNOWN[kind])
    (tmp_path / "net.pth.tar").write_bytes(SOUND + b"\x00")
    for use in (checkpoints.load, checkpoints.obtain, checkpoints.verify):
        with pytest.raises(InputError, match="expected"):
            use(NAME, root=tmp_path)
    assert opened == []


def test_the_backbone_that_ships_is_not_opened_if_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    for name in (embedded.WEIGHTS, embedded.CARD):
        (tmp_path / name).write_bytes((embedded.FOLDER / name).read_bytes())
    with (tmp_path / embedded.WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="has sha256"):
        checkpoints.load("embedded")
    assert opened == []


def test_published_files_have_hashes_and_addresses_that_nobody_can_change_on_the_way() -> None:
    sources = {name: entry.source for name, entry in catalog.entries().items()}
    unknown = {name for name, s in sources.items() if not s.hub and max(len(s.sha256), len(s.md5)) < 8}
    assert unknown == {"dino"}  # its authors publish none; the hub names its files by their SHA-256
    assert all((source.address() or "").startswith("https://") for source in sources.values())
