"""The training bench runs and prints a line per loop."""

import json

import pytest

from scripts import bench_training as script


@pytest.mark.slow
def test_every_loop_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--arch", "test_resnet", "--size", "32", "--batch", "4", "--steps", "1", "--turns", "1", "--images", "384"]
    monkeypatch.setattr("sys.argv", ["bench_training.py", *words])
    script.main()
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["name"], row["loop"]) for row in rows] == [
        ("step", "plain"), ("step", "timm"), ("step", "ours"), ("step", "masked"),
        ("epoch", "torchvision"), ("epoch", "ours"),
    ]  # fmt: skip
    assert rows[0]["ratio"] == rows[4]["ratio"] == 1
    assert "hold_share" in rows[3]
