"""The commands that do something: run, signals, evaluate, prune."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file

import checkpoints
import checkpoints.architectures
import transfer
from tests import processes
from transfer.recipe import Data, Prune, Recipe, Train

SMALL = ("--data.size", "16", "--prune.method", "magnitude", "--prune.sparsity", "0.95")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> transfer.Result:
    recipe = Recipe(
        name="tiny",
        data=Data(size=16),
        prune=Prune(method="magnitude", sparsity=0.95, rounds=1),
        train=Train(epochs=2, lr=0.02, precision="no"),
    )
    return transfer.run(recipe, out=tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_has_its_exit_code_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    words = (*SMALL, "--train.epochs", "50", "--train.save-minutes", "0", "--out", str(tmp_path / "runs"))
    started = processes.start(processes.module, "recipes.digits", *words, folder=tmp_path / "said")
    deadline = time.monotonic() + 240
    (process,) = started.processes
    while not list(tmp_path.glob("runs/*/state.pt")) and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, number)
    assert started.codes() == [code]
    error = started.err
    said = [line for line in error.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]  # beside the log
    assert len(said) <= 1
    assert "Traceback" not in error
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "state.pt").exists()
    assert not (folder / "result.json").exists()
    assert not list(folder.rglob("*.tmp"))


def test_evaluate_gives_the_accuracy_of_the_result(
    finished: transfer.Result, command: Callable[..., tuple[int, str, str]]
) -> None:
    before = {p: p.read_bytes() for p in finished.folder.rglob("*") if p.is_file()}
    for flags, key in (((), "accuracy"), (("--best",), "best_accuracy")):
        code, out, error = command("evaluate", str(finished.folder), *flags)
        assert (code, error) == (0, "")
        assert json.loads(out)["accuracy"] == finished.metrics[key]
    assert before == {p: p.read_bytes() for p in finished.folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("damage", ["model.safetensors", "recipe.json"])
def test_evaluate_refuses_a_damaged_run(
    finished: transfer.Result, tmp_path: Path, command: Callable[..., tuple[int, str, str]], damage: str
) -> None:
    for name in ("recipe.json", "model.json", "model.safetensors"):
        content = (finished.folder / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2] if name == damage else content)
    code, out, error = command("evaluate", str(tmp_path))
    assert (code, out) == (2, "")
    assert damage in error
    assert error.count("\n") == 1


def prune(command: Callable[..., tuple[int, str, str]], backbone: str, out: Path) -> tuple[int, str, str]:
    method = ("--prune.method", "px", "--prune.rounds", "2", "--prune.sparsity", "0.8", "--prune.per-class", "1")
    return command("prune", "--backbone", backbone, "--out", str(out), *method)


def test_a_pruned_backbone_loads_in_timm_and_here(tmp_path: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    path = tmp_path / "pruned.safetensors"
    code, out, _ = prune(command, "embedded", path)
    assert code == 0
    assert str(path) in out
    total = 270_896 - 640  # the head takes no part
    removed = int(0.8 * total + 0.5)
    model = timm.create_model("resnet20", num_classes=0, checkpoint_path=str(path))
    kernels = [p for p in model.parameters() if p.ndim == 4]
    assert sum(p.numel() for p in kernels) == total
    assert sum(int((p == 0).sum()) for p in kernels) == removed
    loaded, original = checkpoints.load(str(path)), checkpoints.load("embedded")
    assert (loaded.arch, loaded.mean, loaded.card.licence) == ("resnet20", original.mean, original.card.licence)
    for key, value in original.state_dict.items():
        pruned = loaded.state_dict[key]
        assert torch.equal(pruned, value.masked_fill(pruned == 0, 0)), key
    assert os.listdir(tmp_path) == ["pruned.safetensors"]
    before = path.read_bytes()
    code, _, error = prune(command, "embedded", path)
    assert code == 2
    assert "exists" in error
    assert path.read_bytes() == before
    assert prune(command, "embedded", tmp_path / "again.safetensors")[0] == 0
    assert (tmp_path / "again.safetensors").read_bytes() == before


def test_a_pruned_resnet_loads_in_torchvision(tmp_path: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    path = tmp_path / "pruned.safetensors"
    assert prune(command, "random:resnet18", path)[0] == 0
    model = torchvision.models.resnet18()
    missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    assert (missing, unexpected) == (["fc.weight", "fc.bias"], [])
    kernels = [p for p in model.parameters() if p.ndim == 4]
    total = sum(p.numel() for p in kernels)
    assert sum(int((p == 0).sum()) for p in kernels) == int(0.8 * total + 0.5)


def test_a_pruned_backbone_can_be_the_backbone_of_a_run(
    tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    path = tmp_path / "pruned.safetensors"
    assert prune(command, "embedded", path)[0] == 0
    code, out, error = command("run", "digits", "--backbone", str(path), "--dry-run")
    assert (code, error) == (0, "")
    assert "resnet20" in out
