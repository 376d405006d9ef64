"""The command line as a user meets it: help that is quick, and one line and an exit code for bad input."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import processes
from transfer import cli

COMMAND = [sys.executable, "-c", "from transfer.cli import main; main()"]
ROOT = Path(__file__).parents[1]
Outcome = tuple[int, str, str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, an empty folder of downloads, and no hub."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TRANSFER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "here"


@pytest.fixture
def command(here: Path, command: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Run ``transfer ...`` in this process, in the empty folder."""
    return command


def python(*words: str, trace: bool = False) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    first = [sys.executable, *(["-X", "importtime"] if trace else [])]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run([*first, *words], capture_output=True, text=True, env=environment, timeout=300, check=False)


def imported(trace: str) -> set[str]:
    return {line.rpartition("|")[2].strip() for line in trace.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("-c", COMMAND[2], "--help"), "usage: transfer COMMAND"),
        (("-c", COMMAND[2], "run", "digits", "--help"), "--prune.sparsity"),
        (("-c", COMMAND[2], "prune", "--help"), "--backbone"),
        (("-c", COMMAND[2], "evaluate", "--help"), "--best"),
        (("-c", COMMAND[2], "figure", "rounds", "--help"), "--seeds"),
        (("-c", COMMAND[2], "probe", "--help"), "--images"),
        (("-c", COMMAND[2], "sweep", "--grid", "paper-cifar10", "--help"), "--gpus-per-cell"),
        (("-c", COMMAND[2], "sweep", "--grid", "list"), "paper-voc2012"),
        (("-c", COMMAND[2], "backbones", "--help"), "list, fetch or verify"),
        (("-m", "recipes.digits", "--help"), "Handwritten digits from the embedded backbone"),
        (("-m", "recipes.quickstart", "--help"), "--seeds"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, tuple) else None,
)
def test_help_does_not_wait_for_torch(here: Path, words: tuple[str, ...], shown: str) -> None:
    found = python(*words, trace=True)
    assert found.returncode == 0
    assert shown in found.stdout
    heavy = {"torch", "torchvision", "timm", "accelerate", "sklearn", "matplotlib", "numpy"}
    assert not heavy & imported(found.stderr)
    assert not list(here.iterdir())


def test_the_recipe_flags_of_the_issue_are_there(here: Path) -> None:
    for name in ("digits", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet", "quickstart"):
        text = python("-m", f"recipes.{name}", "--help").stdout
        for flag in ("--backbone", "--prune.method", "--prune.sparsity", "--prune.rounds", "--train.epochs", "--seed"):
            assert flag in text, (name, flag)
        assert "--out" in text
        assert "--dry-run" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rnu", "digits"), "unknown command 'rnu'; did you mean run"),
        (("run", "digit"), "unknown recipe 'digit'; did you mean digits?"),
        (("run",), "say which recipe"),
        (("run", "digits", "--prune.sparsity", "abc"), "sparsity"),
        (("run", "digits", "--prune.sparsty", "0.5"), "sparsty"),
        (("run", "digits", "--train.optimizer", "rmsprop"), "rmsprop"),
        (("prune", "--backbone", "embedded"), "out"),
        (("evaluate",), "run"),
        (("backbones", "lst"), "did you mean list?"),
        (("backbones", "fetch"), "say which backbone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistyped_command_is_one_line(here: Path, words: tuple[str, ...], says: str) -> None:
    found = python(*COMMAND[1:], *words)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 1
    assert says in found.stderr
    assert not list(here.iterdir())


DIGITS = ("run", "digits", "--prune.rounds", "1")
MILESTONES = (*DIGITS, "--train.schedule", "milestones", "--train.milestones")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*DIGITS, "--prune.method", "pxx"), "unknown method 'pxx'; did you mean px?"),
        ((*DIGITS, "--backbone", "embeded"), "unknown backbone 'embeded'; did you mean embedded?"),
        ((*DIGITS, "--backbone", "random:resnet200x"), "unknown architecture 'resnet200x'; did you mean"),
        ((*DIGITS, "--backbone", "gone.pth@resnet18"), "gone.pth"),
        ((*DIGITS, "--data.name", "digitss"), "dataset 'digitss' is unknown; did you mean digits?"),
        ((*DIGITS, "--data.name", "cifar10"), "cifar"),
        ((*DIGITS, "--data.name", "imagefolder:."), "no folder train"),
        ((*DIGITS, "--data.name", "imagefolder:/nowhere"), "/nowhere"),
        ((*DIGITS, "--data.size", "0"), "data.size is 0"),
        ((*DIGITS, "--backbone", "random:convnext_atto", "--data.size", "8"), "cannot take images of 8 px"),
        ((*DIGITS, "--prune.sparsity", "1"), "prune.sparsity is 1.0"),
        ((*DIGITS, "--prune.sparsity", "nan"), "prune.sparsity is nan"),
        ((*DIGITS, "--prune.sparsity", "-1"), "prune.sparsity is -1.0"),
        ((*DIGITS, "--prune.sparsity", "0.9999999"), "leaves none of 270896 weights"),
        (("run", "digits", "--prune.rounds", "0"), "rounds is 0"),
        ((*DIGITS, "--prune.per-class", "5000"), "ask for at most 139 a class"),
        ((*DIGITS, "--prune.exclude", "nothing.like.it"), "nothing.like.it"),
        ((*DIGITS, "--train.batch", "0"), "train.batch is 0"),
        ((*DIGITS, "--train.nesterov", "--train.momentum", "0"), "momentum"),
        ((*DIGITS, "--train.precision", "fp16"), "needs a GPU"),
        ((*DIGITS, "--seed", "-1"), "seed is -1"),
        ((*DIGITS, "--prune.method", "PX"), "unknown method 'PX'; did you mean px?"),
        ((*DIGITS, "--train.gamma", "0.5"), "train.gamma is set, but does nothing under train.schedule cosine"),
        ((*DIGITS, "--train.milestones", "2"), "train.milestones is set, but does nothing under train.schedule cosine"),
        ((*DIGITS, "--train.warmup", "9"), "train.warmup is 9 epochs of 8; give 8 or fewer"),
        ((*MILESTONES, "3", "2"), "train.milestones are (3, 2); give epochs from 1 on, in rising order"),
        ((*MILESTONES, "2", "2"), "train.milestones are (2, 2); give epochs from 1 on, in rising order"),
        ((*DIGITS, "--train.schedule", "milestones", "--train.gamma", "0.5"), "but there are no train.milestones"),
        (("evaluate", "nonsense"), "is nonsense the folder of a run?"),
        (("evaluate", "."), "the folder of a run?"),
        (("prune", "--backbone", "embedded", "--out", "x.pt"), ".safetensors"),
        (("prune", "--backbone", "embedded", "--out", "x.safetensors", "--prune.sparsity", "0"), "sparsity is 0"),
        (("backbones", "verify", "nope"), "backbone 'nope'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_line_and_nothing_is_written(
    here: Path, command: Callable[..., Outcome], words: tuple[str, ...], says: str
) -> None:
    code, out, error = command(*words)
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert says in error
    assert not list(here.iterdir())


@pytest.mark.parametrize("name", ["xyz", "foo", "resnet500", "ResNet50"])
def test_an_unknown_architecture_is_answered_with_few_names(
    here: Path, command: Callable[..., Outcome], name: str
) -> None:
    code, _, error = command(*DIGITS, "--backbone", f"random:{name}")
    assert code == 2
    assert f"unknown architecture '{name}'" in error
    assert len(error) < 200


def test_a_full_memory_is_one_line(here: Path, command: Callable[..., Outcome]) -> None:
    code, out, error = command(*DIGITS, "--data.size", "2000000")  # 96 TB
    assert (code, out) == (1, "")
    assert error.count("\n") == 1
    assert error.startswith("error: out of memory (")
    assert "try a smaller data.size, train.batch or prune.batch" in error


@pytest.mark.parametrize(
    ("words", "shown"),
    [(("methods",), "pruning methods"), (("doctor",), "what this machine has"), (("run",), "Recipes: cifar10")],
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help(
    here: Path, command: Callable[..., Outcome], words: tuple[str, ...], shown: str, flag: str
) -> None:
    code, out, error = command(*words, flag)
    assert (code, error) == (0, "")
    assert shown in out


def test_bad_input_in_a_process_of_its_own(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    words = ("recipes.digits", "--prune.method", "magnitud")
    found = processes.start(processes.module, *words, folder=tmp_path_factory.mktemp("said"))
    assert (found.codes(), found.out) == ([2], "")
    assert found.err == "error: unknown method 'magnitud'; did you mean magnitude?\n"
    assert not list(here.iterdir())


@pytest.mark.parametrize("name", ["recipes.digits", "recipes.quickstart"])
def test_a_dry_run_writes_nothing(here: Path, name: str, command: Callable[..., Outcome]) -> None:
    code, out, error = command("run", name.removeprefix("recipes."), "--dry-run", "--train.epochs", "1")
    assert (code, error) == (0, "")
    assert "digits-" in out or "quickstart-" in out
    assert "270896" in out.replace(",", "") or "px" in out
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("flags", "cells"),
    [
        (("--methods", "snip", "--sparsities", "0.5"), ["none (dense)", "snip to 50"]),
        (("--methods", "snip", "--sparsities", "0.5", "--prune.method", "random"),
         ["none (dense)", "snip to 50", "random to 50"]),
        (("--methods", "snip", "--sparsities", "0.5", "--prune.sparsity", "0.4"),
         ["none (dense)", "snip to 40", "snip to 50"]),
    ],
)  # fmt: skip
def test_a_comparison_runs_what_was_named_and_what_was_changed(
    flags: tuple[str, ...], cells: list[str], here: Path, command: Callable[..., Outcome]
) -> None:
    code, out, _ = command("run", "quickstart", "--dry-run", *flags)
    assert code == 0
    planned = [line.removeprefix("pruning   ") for line in out.splitlines() if line.startswith("pruning")]
    assert len(planned) == len(cells)
    assert all(line.startswith(cell) for line, cell in zip(planned, cells, strict=True))


def test_evaluate_of_a_file_is_one_line(here: Path, command: Callable[..., Outcome]) -> None:
    (here / "model.safetensors").write_bytes(b"x")
    code, _, error = command("evaluate", "model.safetensors")
    assert code == 2
    assert error.count("\n") == 1


def test_methods_shows_rounds_statistics_and_options(command: Callable[..., Outcome]) -> None:
    code, out, _ = command("methods")
    rows = {cells[0]: cells for line in out.splitlines() if len(cells := line.replace("│", " ").split()) > 3}
    assert code == 0
    assert "statistics" in out
    shown = {name: rows[name][1:3] for name in ("random", "snip", "ntk-trace", "jacobian", "px-released")}
    assert shown == {
        "random": ["1", "-"], "snip": ["1", "batch"], "ntk-trace": ["20", "batch"], "jacobian": ["1", "batch"],
        "px-released": ["100", "batch"],
    }  # fmt: skip
    assert "power=4" in rows["px-released"]


def test_a_backbone_that_is_absent_is_not_called_damaged(here: Path) -> None:
    (here.parent / "home").mkdir()
    (here.parent / "home/moco_v2_800ep_pretrain.pth.tar").write_bytes(b"something else")
    assert [cli._here(name) for name in ("embedded", "imagenet-v1", "mocov2")] == ["yes", "no", "damaged"]
