"""The segmentation bench on a tiny size: both measurements, and what they say of themselves."""

import json
import sys
from pathlib import Path

import pytest

from scripts import bench_segmentation as script
from tests import processes

TINY = ["--arch", "resnet18", "--size", "32", "--batch", "2", "--classes", "3", "--turns", "1", "--device", "cpu"]


@pytest.mark.slow
def test_both_measurements_are_printed(tmp_path: Path) -> None:
    done = processes.run(processes.module, "scripts.bench_segmentation", *TINY, folder=tmp_path)
    memory, *metric = (json.loads(line) for line in done.out.splitlines())
    assert (memory["name"], memory["batch"]) == ("memory", 2)
    assert memory["peak_mb"] > 100
    assert [(row["name"], row["images"]) for row in metric] == [("metric", 1), ("metric", 2)]
    for row in metric:
        share = row["metric_s"] / (row["metric_s"] + row["forward_s"])
        assert row["share"] == pytest.approx(share, abs=0.02)  # the seconds are rounded
        assert row["settings"] == {"arch": "resnet18", "size": 32, "classes": 3, "device": "cpu"}


@pytest.mark.parametrize("wrong", [["--size", "33"], ["--batch", "1"], ["--turns", "0"], ["--classes", "0"]])
def test_what_cannot_be_measured_is_refused(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *TINY, *wrong])
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert "--turns and --classes are 1 or more, --batch 2 or more" in capsys.readouterr().err
