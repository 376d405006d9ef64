"""The bench's own arithmetic: shares, speed-ups, settings, and calls that are timed and put back."""

import json

import pytest

from scripts import bench_scaling as script

ABOUT = {"processes": 1, "threads": 1, "device": "cpu", "precision": "no"}


def test_the_share_of_a_save_by_hand(capsys):
    turns = [{**ABOUT, "step_s": step, "save_s": save, "state_mb": 9.0} for step, save in ((1, 4), (2, 25), (9, 90))]
    script.tell_save("resnet20", {"one": turns})
    found = json.loads(capsys.readouterr().out)
    assert (found["step_s"], found["save_s"], found["epoch_s"]) == (2, 25, 200)
    assert found["share_of_epoch"] == pytest.approx(25 / 225, rel=1e-3)
    assert found["share_every_10_minutes"] == 0.04
    assert found["epoch"].startswith("estimated")


def test_the_speed_up_and_the_bits_by_hand(capsys):
    def turn(seconds, bits):
        return {**ABOUT, **{f"{m}_s": seconds for m in script.METHODS}, **{f"{m}_bits": bits for m in script.METHODS}}

    found = {
        "one": [turn(6.0, "a")] * 2,
        "one_all_cores": [turn(4.0, "other threads")] * 2,
        "two": [turn(2.0, "a")] * 2,
    }
    script.tell_score("resnet20", found)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["measurement"] for row in rows] == ["px score", "snip score"]
    for row in rows:
        assert (row["speed_up"], row["speed_up_over_all_cores"], row["same_bits"]) == (3, 2, True)
    found["two"][1] = turn(2.0, "b")
    script.tell_score("resnet20", found)
    assert not json.loads(capsys.readouterr().out.splitlines()[0])["same_bits"]


def test_one_gpu_has_no_second_process(monkeypatch, capsys):
    monkeypatch.setattr(script.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(script.torch.cuda, "device_count", lambda: 1)
    assert set(script.settings()) == {"one"}
    turn = {**ABOUT, "device": "cuda", "step_s": 1.0, "peak_mb": [5.0], "imports_mb": 1.0}
    script.tell_step("resnet50", {"one": [turn, turn]})
    step, speed_up = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert step["peak_mb"] == [5.0]
    assert "speed_up" not in speed_up
    monkeypatch.setattr(script.torch.cuda, "device_count", lambda: 8)
    assert [processes for processes, _ in script.settings().values()] == [1, 2]
