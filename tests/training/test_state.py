"""The training state: back as it was, refused when damaged, never run."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from transfer.errors import RunError
from transfer.training.state import State

CONTENT: dict[str, Any] = {
    "model": {"w": torch.arange(2000.0)}, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    "scheduler_step": 6, "scaler": None, "identity": ["sgd", "0", "dense"],
    "epochs": [{"epoch": 1, "train_loss": 1.5}], "best_epoch": 1, "seconds": [0.5],
}  # fmt: skip


class Hostile:
    """Unpickled, it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


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
    assert torch.equal(back.pop("model")["w"], CONTENT["model"]["w"])
    assert back == {key: value for key, value in CONTENT.items() if key != "model"}
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


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_the_file_does_not_run(tmp_path: Path, writer: str) -> None:
    state, made = State(tmp_path), tmp_path / "made"
    hostile = {**CONTENT, "epochs": Hostile(made)}
    if writer == "torch":
        torch.save(hostile, state.path)
    else:
        state.path.write_bytes(pickle.dumps(hostile, protocol=2))
    refused(state)
    assert not made.exists()
