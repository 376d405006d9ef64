"""What a run says while it works, where, and to whom."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import transfer
from tests.conftest import Outcome
from transfer import log
from transfer.recipe import Data, Prune, Recipe, Train

RECIPE = Recipe(
    name="said",
    backbone="embedded",
    data=Data(name="digits", size=8),
    prune=Prune(method="magnitude", sparsity=0.5, rounds=2),
    train=Train(epochs=2, batch=256, lr=0.05, precision="no"),
)
WORDS = ("--data.size", "8", "--prune.method", "magnitude", "--train.epochs", "1", "--train.batch", "256")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> transfer.Result:
    return transfer.run(RECIPE, out=tmp_path_factory.mktemp("said"))


def test_a_run_keeps_a_log_in_its_folder(result: transfer.Result) -> None:
    lines = (result.folder / "log.txt").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO transfer\.\w+\.\w+: \S", line) for line in lines)
    text = "\n".join(lines)
    assert f"run {result.folder}" in text
    assert re.search(r"on cpu.*, 1 process, precision no; python 3.*, torch 2", text)
    assert f"backbone embedded (resnet20), weights {result.metrics['backbone_digest'][:12]}" in text
    assert re.search(r"prune magnitude 50\.00%: round 2 of 2, density 0\.5\d*, 0 empty layers, \d+\.\d s", text)
    epochs = re.findall(
        r"epoch (\d)/2: train loss \S+, test loss \S+, accuracy \d+\.\d\d%, lr 0\.05, \d+ images/s, \d+ s left", text
    )
    assert epochs == ["1", "2"]


def test_a_run_that_is_only_looked_up_logs_nothing(result: transfer.Result) -> None:
    before = (result.folder / "log.txt").read_bytes()
    assert transfer.run(RECIPE, out=result.folder.parent) == result
    assert (result.folder / "log.txt").read_bytes() == before


def test_as_a_library_nothing_is_shown_and_nothing_stays_configured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root, before = logging.getLogger("transfer"), list(logging.getLogger("transfer").handlers)
    transfer.run(replace(RECIPE, train=replace(RECIPE.train, epochs=0)), out=tmp_path)
    assert capfd.readouterr() == ("", "")
    assert (root.level, root.propagate, root.handlers) == (logging.NOTSET, True, before)


@pytest.mark.parametrize(("verbosity", "rounds"), [("quiet", 0), ("info", 1), ("debug", 2)])
def test_verbosity(verbosity: str, rounds: int, tmp_path: Path, command: Callable[..., Outcome]) -> None:
    words = ("--prune.rounds", "2", "--verbosity", verbosity, "--out", str(tmp_path))
    code, _, err = command("run", "digits", *WORDS, *words)
    assert code == 0
    assert len(re.findall(r"^\d\d:\d\d:\d\d prune magnitude .*: round", err, re.M)) == rounds
    assert (err == "") == (verbosity == "quiet")
    assert list(tmp_path.glob("*/log.txt"))


def test_only_the_main_process_speaks_unless_asked(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    said = logging.getLogger("transfer.here")
    try:
        log.show("info")
        said.info("one")
        log.show("debug")
        said.info("two")
    finally:
        log.hide()
        logging.getLogger("transfer").setLevel(logging.NOTSET)
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[process 1\] two\n", err)


def test_without_a_terminal_long_work_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log, "EVERY", 0.0)
    with caplog.at_level(logging.INFO, "transfer.log"):
        assert list(log.track("abc", "reading", shown=True)) == ["a", "b", "c"]
        assert list(log.track("abc", "silent", shown=False)) == ["a", "b", "c"]
    assert [record.getMessage() for record in caplog.records] == [
        "reading: 1 of 3, 0 s left", "reading: 2 of 3, 0 s left",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (-3, "0 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert log.duration(seconds) == text


def test_tensorboard_gets_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = transfer.run(RECIPE, out=tmp_path, track="tensorboard")
    (file,) = (found.folder / "said").glob("events.out.tfevents*")  # another holds the settings
    events = EventAccumulator(str(file.parent))
    events.Reload()
    assert [event.step for event in events.Scalars("accuracy")] == [1, 2]
    assert events.Scalars("accuracy")[-1].value == pytest.approx(found.metrics["accuracy"])


@pytest.mark.parametrize(("name", "says"), [("tensorbord", "did you mean tensorboard"), ("aim", "pip install aim")])
def test_a_tracker_that_is_not_there_is_one_line_before_the_run(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(transfer.InputError, match=says):
        transfer.run(RECIPE, out=tmp_path / "runs", track=name)
    assert not (tmp_path / "runs").exists()
