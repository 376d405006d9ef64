"""transfer doctor: every line on a machine that is well, one line for what is not, alone and under two processes."""

import os
import re
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import checkpoints
from checkpoints import InputError, NotReady
from tests import processes
from tests.conftest import Outcome
from transfer import doctor, self_check
from transfer.pruning import Masks, prune
from transfer.self_check import PARTS, check_device
from transfer.training.checkpoint import State


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Outcome]) -> Iterator[Callable]:
    """Run ``transfer doctor`` in this process, with empty folders."""
    monkeypatch.setenv("TRANSFER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRANSFER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield lambda *words: command("doctor", *words)
    assert not list(tmp_path.iterdir()), "doctor leaves nothing behind"


def line(out: str, label: str) -> str:
    (found,) = (text for text in out.splitlines() if text.startswith(f"{label} "))
    return found.removeprefix(label).strip()


def failures(out: str) -> list[str]:
    return [text.removeprefix("FAILED").strip() for text in out.splitlines() if text.startswith("FAILED")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells of a machine without a GPU")
def test_a_machine_that_is_well(examine: Callable[..., Outcome], tmp_path: Path) -> None:
    code, out, error = examine()
    assert (code, error) == (0, "")
    assert line(out, "torch") == version("torch")
    assert line(out, "open_clip_torch") == version("open_clip_torch")
    assert line(out, "cpu").startswith(f"{len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads")
    assert line(out, "gpu").startswith("none")
    assert line(out, "processes").startswith("one; more with torchrun")
    assert line(out, "precision") == "auto means no"
    assert line(out, "weights").startswith(f"{tmp_path / 'home'}: not there yet, can be written, ")
    assert line(out, "data").startswith(f"{tmp_path / 'data'}: not there yet, can be written, ")
    assert line(out, "backbones here") == "imagenet-lite0, embedded"
    checks = [text.split()[1] for text in out.splitlines() if text.startswith("ok ")]
    assert checks == [*PARTS, "fine-tune"]
    assert "135,448 weights stay" in out  # half of ResNet-20's 270,896


def shifts_the_statistics(method: str, model: nn.Module, *_: Any) -> dict[str, Tensor]:
    model.train()(torch.randn(4, 3, 32, 32))
    model.eval()
    return {}


def keeps_one_more(model: nn.Module, *_: Any, **options: Any) -> Masks:
    masks = dict(prune(model, [], method="magnitude", sparsity=options["sparsity"]))
    place = (~masks["conv1.weight"]).nonzero()[0]
    masks["conv1.weight"] = masks["conv1.weight"].index_put(tuple(place), torch.tensor(True))
    return Masks(masks)


def holds_nothing(*_: Any) -> SimpleNamespace:
    return SimpleNamespace(remove=lambda: None)


def loads_one_other_bit(self: State) -> dict[str, Any] | None:
    saved = load(self)
    if saved is not None:
        saved["model"]["conv1.weight"].view(torch.int32).view(-1)[0] ^= 1
    return saved


def raises(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no kernel image is available\nand a second line")


load = State.load
BREAKS = {
    "build": (self_check, "classifier", raises, r"no kernel image is available; reinstall torch, torchvision and timm"),
    "score": (self_check, "score", shifts_the_statistics, "scoring changed the model; reinstall"),
    "masks": (self_check, "prune", keeps_one_more, "135449 of 270896 weights stay, expected 135448"),
    "step": (Masks, "hold", holds_nothing, r"\d+ pruned weights are not 0"),
    "state": (State, "load", loads_one_other_bit, r"1 of \d+ tensors came back changed; free space .* or set TMPDIR"),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_is_broken_is_named_and_the_rest_is_left(
    part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    where, name, bad, words = BREAKS[part]
    monkeypatch.setattr(where, name, bad)
    found = list(check_device(torch.device("cpu"), tmp_path))
    assert [outcome.name for outcome in found] == list(PARTS[: PARTS.index(part) + 1])
    assert [outcome.wrong for outcome in found[:-1]] == [None] * (len(found) - 1)
    wrong = found[-1].wrong
    assert wrong is not None
    assert re.match(words, wrong), wrong
    assert "\n" not in wrong


def test_a_broken_check_is_one_line_and_exit_code_1(
    examine: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "finetune", raises)
    code, out, error = examine()
    assert (code, error) == (1, "")
    (words,) = failures(out)
    assert words.startswith("fine-tune on 1 process: no kernel image is available; see whether the processes")


def test_a_package_that_cannot_be_imported_ends_it(
    examine: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(module: str) -> None:
        if module == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor, "import_module", broken)
    monkeypatch.setitem(doctor.PACKAGES, "no-such-package", "none")
    code, out, _ = examine()
    assert code == 1
    vision, absent = failures(out)
    assert vision.startswith(
        "torchvision: installed, but cannot be imported (operator torchvision::nms does not exist)"
    )
    assert absent == "no-such-package: not installed; pip install no-such-package"
    assert not [text for text in out.splitlines() if text.startswith("ok ")]


def test_what_a_launcher_cannot_have_is_a_failure_and_the_device_is_still_checked(
    examine: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    code, out, _ = examine()
    assert code == 1
    (words,) = failures(out)
    assert words.startswith("processes: accelerate launch was asked for several processes but started one")
    assert "ok " in out
    assert "fine-tune" not in out


def test_a_damaged_backbone_is_a_failure(examine: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(name: str) -> None:
        if name == "clip":
            raise InputError("clip has 3 bytes, expected 4; delete it")
        raise NotReady(f"{name} is nowhere")

    monkeypatch.setattr(checkpoints, "verify", verify)
    code, out, _ = examine()
    assert code == 1
    assert failures(out) == ["backbone: clip: clip has 3 bytes, expected 4; delete it"]
    assert line(out, "backbones here") == "none"


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert doctor._folder(tmp_path, "X").startswith(f"{tmp_path}: can be written, ")
    assert doctor._folder(tmp_path / "file" / "below", "X") == f"{tmp_path}/file/below is no folder; set X to one"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written, so nothing can be downloaded to it; X sets another" in doctor._folder(tmp_path, "X")


def test_arguments_are_refused(examine: Callable[..., Outcome]) -> None:
    assert examine("--fast") == (2, "", "error: Unrecognized options: --fast; --help lists the flags\n")


def examines_twice(out: str) -> None:
    well = doctor.doctor()
    if os.environ["RANK"] == "1":  # one process of two finds its device broken
        State.load = lambda self: None  # type: ignore[method-assign]
    broken = doctor.doctor()
    Path(out + os.environ["RANK"]).write_text(f"{well} {broken}")


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    done = processes.run(examines_twice, str(tmp_path / "said "), world=2, folder=tmp_path)
    assert [(tmp_path / f"said {rank}").read_text() for rank in (0, 1)] == ["True False"] * 2
    assert done.out.count("processes                   2, by gloo, 2 of them on this machine") == 2
    assert done.out.count("ok                          build on cpu") == 2, "only the main process prints"
    assert done.out.count("fine-tune on 2 processes: 2 steps") == 1, "after the broken one nothing is done together"
    (words,) = failures(done.out)
    assert words.startswith("process 1, state on cpu: the state is not there after saving")


def waits() -> None:
    doctor.PATIENCE = 1.0
    with doctor._patience():
        pass
    time.sleep(1.5)
    print("in time", flush=True)
    with doctor._patience():
        time.sleep(900)


def test_a_check_that_waits_for_ever_is_ended(tmp_path: Path) -> None:
    done = processes.start(waits, folder=tmp_path)
    assert done.codes() == [1]
    first, last = done.out.splitlines()
    assert first == "in time"
    assert failures(last)[0].startswith("processes: no answer for 1 s; see whether they reach each other")
