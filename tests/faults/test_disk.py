"""A full disk, a read-only folder, a state cut anywhere: the last good state stays, the error is one line."""

import errno
import os
import resource
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from checkpoints import files as files_module
from tests.conftest import Ended
from tests.training.small import equal, left_behind, small_loaders, small_masks, train_small
from transfer.errors import RunError
from transfer.recipe import Train
from transfer.recipe_cli import one_line_errors
from transfer.training import Loaders, checkpoint
from transfer.training.checkpoint import KEYS, State

TRAIN = Train(epochs=2, batch=8, lr=0.05, save_minutes=0.0)
BLOCK = 1 << 16


def big_state(number: int, blocks: int = 8) -> dict[str, Any]:
    """About ``blocks`` times 64 kB of weights that tell which state it is."""
    content: dict[str, Any] = dict.fromkeys(KEYS)
    return {**content, "model": {"w": torch.full((blocks * BLOCK // 4,), float(number))}, "scheduler_step": number}


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_ends_the_run_with_one_line_and_keeps_the_last_state(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Ended
) -> None:
    save, saves = State.save, []

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full:
        """A file on a full disk: the buffer is flushed into nothing."""

        def __init__(self, file: Any) -> None:
            self.file, self.write, self.flush = file, full, full

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: Any) -> None:
            self.file.close()

    def third_is_full(self: State, content: dict[str, Any]) -> None:
        saves.append(content["scheduler_step"])
        with monkeypatch.context() as patch:
            if len(saves) == 3 and call == "fsync":
                patch.setattr(os, "fsync", full)
            elif len(saves) == 3:
                patch.setattr("builtins.open", lambda path, mode: Full(os.fdopen(os.open(path, os.O_CREAT), "rb")))
            save(self, content)

    monkeypatch.setattr(State, "save", third_is_full)
    words = f"error: No space left on device: {tmp_path}/state.pt; what was finished is kept\n"
    assert ended(one_line_errors()(lambda: train_small(TRAIN, tmp_path))) == (1, "", words)
    assert sorted(os.listdir(tmp_path)) == ["state.previous.pt", "state.pt"]
    assert left_behind(tmp_path)["scheduler_step"] == 2
    monkeypatch.undo()
    train_small(TRAIN, tmp_path)
    train_small(TRAIN, tmp_path / "whole")
    assert equal(left_behind(tmp_path), left_behind(tmp_path / "whole"))


def test_a_file_that_the_system_cuts_short_is_not_the_state(tmp_path: Path, ended: Ended) -> None:
    state = State(tmp_path)
    state.save(big_state(1))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        code, _, err = ended(one_line_errors()(lambda: state.save(big_state(2))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (code, err) == (1, f"error: File too large: {tmp_path}/state.pt; what was finished is kept\n")
    assert os.listdir(tmp_path) == ["state.pt"]
    assert left_behind(tmp_path)["scheduler_step"] == 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_one_line(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Ended
) -> None:
    """As for a folder without write permission and a read-only disk; root is stopped by neither here."""
    State(tmp_path).save(big_state(1))

    def read_only(path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            raise OSError(number, os.strerror(number), str(path))
        return open(path, mode, *more, **options)

    for module in (checkpoint, files_module):
        monkeypatch.setattr(module, "open", read_only, raising=False)
    for write, name in ((partial(State(tmp_path).save, big_state(2)), "state.pt"), (save_masks(tmp_path), "")):
        code, _, err = ended(one_line_errors()(write))
        assert code == 1
        assert err.startswith(f"error: {os.strerror(number)}: {tmp_path}/{name}")
        assert err.endswith("; what was finished is kept\n")
        assert err.count("\n") == 1
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["state.pt"]
    assert left_behind(tmp_path)["scheduler_step"] == 1


def save_masks(folder: Path) -> Callable[[], None]:
    return lambda: small_masks().save(folder / "masks.safetensors")


def test_a_state_cut_at_every_64_kb_falls_back_or_is_one_line(tmp_path: Path) -> None:
    State(tmp_path / "two").save(big_state(1))
    State(tmp_path / "two").save(big_state(2))
    whole = (tmp_path / "two" / "state.pt").read_bytes()
    (tmp_path / "one").mkdir()
    lengths = [*range(0, len(whole), BLOCK), len(whole) - 1]
    assert len(lengths) >= 9
    for length in lengths:
        (tmp_path / "two" / "state.pt").write_bytes(whole[:length])
        with pytest.warns(UserWarning, match="going on from"):
            saved = State(tmp_path / "two").load()
        assert saved is not None
        assert equal(saved, big_state(1))
        (tmp_path / "one" / "state.pt").write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"state\.pt is damaged") as caught:
            State(tmp_path / "one").load()
        assert "\n" not in str(caught.value)


def test_a_flipped_byte_gives_the_state_before_or_changes_nothing(tmp_path: Path) -> None:
    State(tmp_path).save(big_state(1))
    State(tmp_path).save(big_state(2))
    whole = (tmp_path / "state.pt").read_bytes()
    places = [*range(0, len(whole), BLOCK // 2), *range(0, 1200, 7), *range(len(whole) - 1500, len(whole), 7)]
    fell_back = 0
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 0x55
        (tmp_path / "state.pt").write_bytes(changed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            saved = State(tmp_path).load()
        assert saved is not None
        assert equal(saved, big_state(1 if caught else 2)), f"byte {place}"
        fell_back += bool(caught)
    assert fell_back > len(places) / 3


def test_a_worker_that_dies_is_one_line(tmp_path: Path) -> None:
    class Dies:
        """Batches from a worker that the system kills."""

        def __len__(self) -> int:
            return 4

        def set_epoch(self, epoch: int, start: int = 0) -> None:
            pass

        def __iter__(self) -> Any:
            return iter(DataLoader(range(4), batch_size=None, num_workers=1, collate_fn=killed))

    data = Loaders(Dies(), small_loaders().test)
    with pytest.raises(
        RunError, match=r"a process that decodes images died .DataLoader worker .*; no state was saved"
    ) as caught:
        train_small(replace(TRAIN, epochs=1), tmp_path, data=data)
    assert "\n" not in str(caught.value)


def killed(_: Any) -> Any:
    os.kill(os.getpid(), 9)
