"""Signals: noted until the step ends, passed on when repeated; handlers only while training."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torchvision.transforms.v2.functional import to_pil_image

from tests import processes
from tests.training.small import Calls, Small, images, left_behind, small_loaders, train_small
from transfer.data.dataset import ImageFiles
from transfer.recipe import Train
from transfer.training import accelerator_for, finetune, stopping
from transfer.training.checkpoint import State
from transfer.training.stopping import Pulse, Signals

TRAIN = Train(epochs=2, batch=8, lr=0.05)


class Processes:
    """Stands for an accelerator of several processes: what all of them say to each other is written down."""

    num_processes = 3
    device = "cpu"

    def __init__(self, others: Callable[[list[int]], list[list[int]]]) -> None:
        self.others, self.asked = others, 0

    def gather(self, mine):  # type: ignore[no-untyped-def]
        self.asked += 1
        return mine.new_tensor(self.others(mine.tolist()[0]))


def test_control_c_saves_and_ends_as_control_c(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    inside = []

    def interrupt(step: int) -> None:
        inside.append(signal.getsignal(signal.SIGINT))
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_small(TRAIN, tmp_path, at_step=interrupt)
    assert left_behind(tmp_path)["scheduler_step"] == 3
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert all(handler not in before for handler in inside)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_second_signal_stops_at_once(
    number: int, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "SAME", 0.0)

    def twice(step: int) -> None:
        if step == 3:
            signal.raise_signal(number)
            time.sleep(0.001)
            signal.raise_signal(number)
            pytest.fail("it went on")

    with pytest.raises(error):
        train_small(TRAIN, tmp_path, at_step=twice)
    assert State(tmp_path).load() is None


def test_a_signal_passed_on_by_a_launcher_is_the_same_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "SAME", 1e9)  # however slow the machine is

    def twice(step: int) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        train_small(TRAIN, tmp_path, at_step=twice)
    assert left_behind(tmp_path)["scheduler_step"] == 3


def test_a_signal_while_the_last_state_is_written_still_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = State.save

    def signalled(self: State, content: dict) -> None:
        save(self, content)
        if len(content["epochs"]) == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(State, "save", signalled)
    with pytest.raises(SystemExit):
        train_small(TRAIN, tmp_path)
    history, _ = train_small(TRAIN, tmp_path, at_step=lambda _: pytest.fail("nothing is left to train"))
    assert len(history.epochs) == 2


def test_in_another_thread_handlers_stay(tmp_path: Path) -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []
    thread = threading.Thread(
        target=train_small,
        args=(TRAIN, tmp_path),
        kwargs={"at_step": lambda _: seen.append(signal.getsignal(signal.SIGTERM))},
    )
    thread.start()
    thread.join()
    assert set(seen) == {before}
    assert left_behind(tmp_path)["scheduler_step"] == 8


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert not signals.received
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_minutes_decide_when_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, clock, save = [], [0.0], State.save

    def note(self: State, content: dict) -> None:
        saved.append(content["scheduler_step"])
        save(self, content)

    def tick(step: int) -> None:
        clock[0] += 60

    monkeypatch.setattr(State, "save", note)
    monkeypatch.setattr(stopping.time, "monotonic", lambda: clock[0])
    train_small(replace(TRAIN, save_minutes=3.0), tmp_path / "three", at_step=tick)
    assert saved == [3, 4, 7, 8], "three minutes after each save, and each epoch's end"
    saved.clear()
    train_small(replace(TRAIN, save_minutes=100.0), tmp_path / "rarely", at_step=tick)
    assert saved == [4, 8]


def test_any_process_can_stop_all_and_the_main_one_s_clock_saves() -> None:
    train = Pulse(Processes(lambda mine: [[0, 0, 1], [15, 1, 1], mine]), Signals(), 10.0)  # type: ignore[arg-type]
    assert train.beat() == (15, False)
    train = Pulse(Processes(lambda mine: [[0, 1, 1], mine, mine]), Signals(), 10.0)  # type: ignore[arg-type]
    assert train.beat() == (0, True)


def test_quick_steps_are_not_asked_about_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: clock[0])

    def asked(seconds: float, steps: int) -> int:
        processes = Processes(lambda mine: [mine] * 3)
        pulse = Pulse(processes, Signals(), 10.0)  # type: ignore[arg-type]
        for _ in range(steps):
            clock[0] += seconds
            pulse.beat()
        return processes.asked

    assert asked(2.0, 20) == 20
    assert asked(0.125, 81) == 11, "the first step, then once a second"
    assert asked(0.0001, 1001) == 11, "every 100 steps at least"


def train_with_workers(folder: Path) -> None:
    paths = [folder / f"{i}.png" for i in range(32)]
    for path, pixels in zip(paths, images().pixels, strict=True):
        to_pil_image(pixels).save(path)

    def slow(step: int) -> None:
        print(step, flush=True)
        time.sleep(0.3)

    data = small_loaders(ImageFiles(tuple(paths), images().labels), workers=2)
    train_small(replace(TRAIN, epochs=100), folder, data=data, at_step=slow)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers outlast SIGTERM on Linux only")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, -signal.SIGINT, marks=pytest.mark.large)],
)
def test_a_signal_to_every_process_of_a_job_leaves_the_workers_to_finish_the_step(
    number: int, code: int, tmp_path: Path
) -> None:
    """As a terminal's Ctrl-C and a cluster's SIGTERM do: to the whole process group, workers too."""
    started = processes.start(train_with_workers, tmp_path, folder=tmp_path, group=True)
    until = time.monotonic() + 300
    while len(started.out.split()) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    (process,) = started.processes
    os.killpg(process.pid, number)
    assert started.codes() == [code]
    last = int(started.out.split()[-1])
    assert left_behind(tmp_path)["scheduler_step"] == last
    until = time.monotonic() + 300
    while some_left(process.pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not some_left(process.pid), "workers"


def some_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_a_folder_a_signal_ends_the_step_and_the_training() -> None:
    model, steps = Small(), []

    def stop(step: int) -> None:
        steps.append(step)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        finetune(model, None, small_loaders(), TRAIN, task=Calls(stop), accelerator=accelerator_for(TRAIN))
    assert steps == [1]
    assert not any(getattr(p, "_post_accumulate_grad_hooks", None) for p in model.parameters())
