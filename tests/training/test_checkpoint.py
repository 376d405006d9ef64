"""The training state: back as it was, refused when damaged. That no code in it runs, tests/security shows."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from transfer.errors import RunError
from transfer.training.checkpoint import State

CONTENT: dict[str, Any] = {
    "model": {"w": torch.arange(2000.0)}, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    "scheduler_step": 6, "scaler": None, "identity": {"seed": "0"}, "done": 2,
    "log": torch.ones(1, 2, 4), "elapsed": 0.5,
    "epochs": [{"epoch": 1, "train_loss": 1.5}], "best_epoch": 1, "seconds": [0.5], "counts": torch.tensor([3, 4]),
}  # fmt: skip


def refused(state: State) -> str:
    with pytest.raises(RunError, match=r"state\.pt") as caught:
        state.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_comes_back(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.load() is None
    state.save(CONTENT)
    back = state.load()
    assert back is not None
    assert torch.equal(back["model"]["w"], CONTENT["model"]["w"])
    for name in ("log", "counts"):
        assert torch.equal(back[name], CONTENT[name])
    plain = set(CONTENT) - {"model", "log", "counts"}
    assert {key: back[key] for key in plain} == {key: CONTENT[key] for key in plain}
    assert os.listdir(tmp_path) == ["state.pt"]
    state.clear()
    state.clear()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("length", [0, 1, 100, 4000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    state = State(tmp_path)
    state.save(CONTENT)
    state.path.write_bytes(state.path.read_bytes()[:length])
    assert "damaged" in refused(state)


@pytest.mark.parametrize("content", [b"hello", b"\x00" * 4096, b"\x80\x02}q\x00.", bytes(range(256)), b"PK\x03\x04"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    state = State(tmp_path)
    state.path.write_bytes(content)
    refused(state)


@pytest.mark.parametrize("content", [{}, [1, 2], {"model": {}}], ids=["empty", "list", "part"])
def test_a_file_without_the_state_is_refused(tmp_path: Path, content: Any) -> None:
    state = State(tmp_path)
    torch.save(content, state.path)
    refused(state)


def numbered(number: int) -> dict[str, Any]:
    return {**CONTENT, "scheduler_step": number}


def step_of(state: State) -> int:
    saved = state.load()
    assert saved is not None
    return int(saved["scheduler_step"])


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    state = State(tmp_path)
    for number in range(4):
        state.save(numbered(number))
    assert sorted(os.listdir(tmp_path)) == ["state.previous.pt", "state.pt"]
    assert step_of(state) == 3
    os.replace(state.previous, state.path)
    assert step_of(state) == 2
    state.save(numbered(3))
    state.clear()
    assert os.listdir(tmp_path) == []


def test_a_damaged_newest_falls_back_with_a_warning_and_never_replaces_the_good_one(tmp_path: Path) -> None:
    State(tmp_path).save(numbered(1))
    State(tmp_path).save(numbered(2))
    state = State(tmp_path)
    state.path.write_bytes(b"PK" + bytes(100))
    with pytest.warns(UserWarning, match=r"state\.pt is damaged .*; going on from state\.previous\.pt") as caught:
        assert step_of(state) == 1
    assert "\n" not in str(caught[0].message)
    with pytest.warns(UserWarning, match="going on from"):
        state.load()
    state.save(numbered(3))
    assert step_of(state) == 3
    state.path.write_bytes(b"")
    assert torch.load(state.previous, weights_only=True)["scheduler_step"] == 1


def test_a_stop_between_the_two_renames_loses_one_save_at_most(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.save(numbered(1))
    os.replace(state.path, state.previous)
    assert step_of(State(tmp_path)) == 1


def test_both_damaged_is_one_line(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.save(numbered(1))
    state.save(numbered(2))
    for path in (state.path, state.previous):
        path.write_bytes(path.read_bytes()[:500])
    assert "state.previous.pt is damaged" in refused(state)


def test_a_changed_byte_is_seen(tmp_path: Path) -> None:
    """The zip's checksums are compared: torch.load alone would give the changed numbers back."""
    state = State(tmp_path)
    state.save(CONTENT)
    content = bytearray(state.path.read_bytes())
    place = content.find(torch.arange(1000.0, 1002.0).numpy().tobytes())
    content[place] ^= 1
    state.path.write_bytes(content)
    assert not torch.equal(torch.load(state.path, weights_only=True)["model"]["w"], CONTENT["model"]["w"])
    assert "has changed" in refused(state)


@pytest.mark.parametrize("before", [b"", b"\x80\x02}q\x00.", b"junk"], ids=["zip", "pickle, zip", "junk, zip"])
def test_what_would_grow_is_refused_before_it_is_unpacked(
    before: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(tmp_path)
    with open(state.path, "wb") as file:
        file.write(before)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", bytes(1 << 20))
    assert state.path.stat().st_size < 4096
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: pytest.fail("it was unpacked"))
    refused(state)
