"""scripts/bench_inference.py in miniature: its lines, and the table of them."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from scripts import bench_inference as script
from transfer.export import measure, variants


class Tiny(nn.Sequential):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.flat = nn.Flatten()
        self.fc = nn.Linear(8 * 36, 10)


def test_a_line_per_form_and_a_row_per_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    monkeypatch.setattr(measure, "FEWEST", 1)
    monkeypatch.setattr(script._bench, "model", lambda arch: Tiny())
    monkeypatch.setattr(variants, "compact", lambda model, images: model)
    words = "x --arch resnet50 --size 8 --ways erk random --sparsities 0 0.5 --batches 1 --threads"
    monkeypatch.setattr(sys, "argv", [*words.split(), str(torch.get_num_threads())])
    script.main()
    out = capsys.readouterr().out
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 2 * 2 * 5
    assert all(line["ms"] > 0 and line["torch"] == torch.__version__ for line in lines)
    assert max(line["difference"] or 0 for line in lines) < 1e-5
    (tmp_path / "lines.jsonl").write_text(out)
    table = script.table(tmp_path / "lines.jsonl").splitlines()
    assert [row.split(" | ")[1:3] for row in table[2:]] == [
        ["none", "0.00%"], ["erk", "50.00%"], ["none", "0.00%"], ["random", "50.00%"],
    ]  # fmt: skip
