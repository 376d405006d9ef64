"""The run folder: its name, its lock, and that its files are whole or absent."""

import errno
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from filelock import FileLock

import transfer
from checkpoints import InputError
from checkpoints.files import read_json, write_json, write_whole
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs.folder import Held, Origin, RunFolder, folder_name

RECIPE = Recipe(
    name="My Recipe",
    backbone="timm:resnet50.a1_in1k",
    data=Data(size=16),
    prune=Prune(method="synflow-l2", sparsity=0.982, rounds=3),
    train=Train(epochs=0),
    seed=7,
)
SPLIT = {"split": "train", "images": 3, "digest": "d"}
MADE = Origin("w", {"classes": ["cat", "dog"], "train": SPLIT, "test": SPLIT}, {})
FULL = OSError(errno.ENOSPC, "No space left on device")


def fail(*_: Any, **__: Any) -> NoReturn:
    raise FULL


def test_the_name_says_what_runs() -> None:
    assert re.fullmatch(r"my-recipe-timm-resnet50\.a1-in1k-synflow-l2-0\.982-s7-[0-9a-f]{8}", folder_name(RECIPE, MADE))
    dense = replace(RECIPE, prune=Prune(sparsity=0.0)).resolved()
    assert re.fullmatch(r"my-recipe-timm-resnet50\.a1-in1k-dense-s7-[0-9a-f]{8}", folder_name(dense, MADE))


@pytest.mark.parametrize("backbone", ["/home/x/../../etc/weights.pth@resnet50", "a b\nc", "../..", "x" * 500])
def test_the_name_is_one_folder(backbone: str) -> None:
    name = folder_name(replace(RECIPE, backbone=backbone), MADE)
    assert re.fullmatch(r"[a-z0-9.-]+", name)
    assert len(name) < 200
    assert not name.startswith(".")


def test_the_hash_covers_the_recipe_and_its_origin_and_no_place() -> None:
    names = {
        folder_name(recipe, made)
        for recipe in (RECIPE, replace(RECIPE, train=Train(epochs=1)), replace(RECIPE, prune=Prune(batch=1)))
        for made in (MADE, replace(MADE, backbone="v"), replace(MADE, data={}), replace(MADE, methods={"mine": "s"}))
    }
    assert len(names) == 12
    assert RunFolder(Path("a"), RECIPE, MADE).path.name == RunFolder(Path("b/c"), RECIPE, MADE).path.name


def test_workers_and_saving_may_change_between_starts(tmp_path: Path) -> None:
    other = replace(RECIPE, data=replace(RECIPE.data, workers=3), train=replace(RECIPE.train, save_minutes=1.0))
    first, second = RunFolder(tmp_path, RECIPE, MADE), RunFolder(tmp_path, other, MADE)
    assert first.path == second.path
    with first.opened():
        assert Recipe.from_dict(read_json(first.file("recipe.json"))) == RECIPE
    with second.opened():
        assert Recipe.from_dict(read_json(first.file("recipe.json"))) == other


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RECIPE, MADE)
    held = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(1, flush=True); input()"
    with folder.opened():
        pass
    command = [sys.executable, "-c", held, str(folder.file(".lock"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="another process is running in") as caught, folder.opened():
            pass
        with pytest.warns(UserWarning, match="waiting up to 0.1 s"), pytest.raises(Held), folder.opened(0.1):
            pass
        other.communicate("\n")
    assert "\n" not in str(caught.value)
    with folder.opened():
        pass


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_where_there_are_no_locks_a_stale_one_of_another_machine_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", missing)
    folder = RunFolder(tmp_path, RECIPE, MADE)
    folder.path.mkdir(parents=True)
    lock = folder.file(".lock")
    with folder.opened():
        held = lock.read_text()
    lock.write_text(held.replace(socket.gethostname(), "another-machine"))
    with (
        pytest.raises(InputError, match=f"another process is running in .*; if none is, remove {lock}"),
        folder.opened(),
    ):
        pass
    lock.unlink()
    with folder.opened():
        assert lock.exists()


def test_the_lock_is_given_back_after_a_failure(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RECIPE, MADE)
    with pytest.raises(KeyError), folder.opened():
        raise KeyError
    FileLock(folder.file(".lock"), timeout=0).acquire().lock.release()


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RECIPE, MADE)
    with folder.opened():
        folder.write_json("recipe.json", replace(RECIPE, seed=8).to_dict())
    before = folder.file("recipe.json").read_bytes()
    with pytest.raises(InputError, match="was made by another recipe"), folder.opened():
        pass
    assert folder.file("recipe.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_recipe_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path, RECIPE, MADE)
    folder.path.mkdir()
    folder.file("recipe.json").write_bytes(content)
    with pytest.raises(InputError, match=r"recipe\.json is not JSON"), folder.opened():
        pass


def test_a_folder_of_another_origin_is_refused(tmp_path: Path) -> None:
    other = replace(MADE, backbone="v", data={**MADE.data, "train": {**SPLIT, "images": 2}}, methods={"mine": "1"})
    folder = RunFolder(tmp_path, RECIPE, replace(other, methods={"mine": "2"}))
    folder.path.mkdir()
    write_json(folder.file("origin.json"), {"backbone": "w", "data": dict(MADE.data), "methods": {"mine": "1"}})
    told = "train had 3 images, now 2; the backbone's weights are others; the source of method mine changed"
    with pytest.raises(InputError, match=f"holds a run of other data or weights .{told}."), folder.opened():
        pass


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"data": 3}', b'{"data": {"classes": 3}}', b"{"])
def test_a_damaged_origin_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path, RECIPE, MADE)
    folder.path.mkdir()
    folder.file("origin.json").write_bytes(content)
    with pytest.raises(InputError, match=r"origin\.json is (damaged|not JSON)"), folder.opened():
        pass


def test_out_may_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="choose another --out"):
        transfer.run(replace(RECIPE, backbone="random:resnet20"), out=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_may_not_be_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="choose another --out"):
        transfer.run(replace(RECIPE, backbone="random:resnet20"), out=tmp_path)


@pytest.mark.parametrize("broken", ["os.replace", "os.fsync"])
def test_a_full_disk_leaves_the_old_file_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    write_json(tmp_path / "old.json", {"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        for name in ("old.json", "new.json"):
            with pytest.raises(OSError, match="No space left"):
                write_json(tmp_path / name, {"a": 2})
    assert os.listdir(tmp_path) == ["old.json"]
    assert read_json(tmp_path / "old.json") == {"a": 1}


def test_a_disk_that_fills_during_a_run_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, backbone="random:resnet20", prune=Prune(method="magnitude", sparsity=0.5, rounds=1))
    replace_, left = os.replace, [6]  # recipe, origin, environment, timing, masks, metrics; then the disk is full

    def fills(*names: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise FULL
        replace_(*names)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fills)
        with pytest.raises(OSError, match="No space left"):
            transfer.run(recipe, out=tmp_path)
    (folder,) = tmp_path.iterdir()
    kept = {
        "recipe.json",
        "origin.json",
        "environment.json",
        "log.txt",
        "timing.json",
        "masks.safetensors",
        "metrics.jsonl",
        ".lock",
    }
    assert {p.name for p in folder.rglob("*")} == kept
    assert transfer.run(recipe, out=tmp_path).folder == folder
    assert (folder / "result.json").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_is_no_json_is_not_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", {"x": value})
    assert os.listdir(tmp_path) == []


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "x.json", {"b": 1, "a": [1.5, None]})
    write_json(tmp_path / "y.json", {"a": [1.5, None], "b": 1})
    assert (tmp_path / "a" / "x.json").read_bytes() == (tmp_path / "y.json").read_bytes()
    write_whole(tmp_path / "y.json", b"\x00")
    assert (tmp_path / "y.json").read_bytes() == b"\x00"
    assert json.loads((tmp_path / "a" / "x.json").read_text()) == {"a": [1.5, None], "b": 1}
