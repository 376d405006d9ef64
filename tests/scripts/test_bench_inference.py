"""scripts/bench_inference.py in miniature: its lines, and the table of them."""

import argparse
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


def test_masks_through_which_no_image_passes_are_an_error() -> None:
    model = Tiny().eval()
    assert script.varies(model, 8) > 0.01
    model.conv.weight.data.zero_()
    with pytest.raises(SystemExit, match="hardly depend on the image"):
        script.varies(model, 8)


def test_the_last_layer_and_for_one_threshold_the_first_one_stay_dense() -> None:
    assert script.unpruned(Tiny(), "erk") == ["fc"]
    assert script.unpruned(Tiny(), "magnitude") == ["conv", "fc"]


def test_the_layers_of_a_form_with_a_note_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fused = script.Sparse.__new__(script.Sparse)
    nn.Module.__init__(fused)
    forms = {"sparse": nn.Sequential(fused), "compact": "there is none"}
    rows = [measure.Measured("sparse", 1.0, 2.0, 0.1, "the outputs differ"), measure.Measured("compact", note="none")]
    monkeypatch.setattr(script, "variants", lambda model, images: forms.items())
    monkeypatch.setattr(script, "measured", lambda forms, images: rows)
    script.bench(Tiny(), torch.zeros(1, 3, 8, 8), argparse.Namespace(arch="resnet50", size=8))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["layers"] for line in lines] == [1, 0]
    assert [script._cell(line) for line in lines] == ["2.00 (1e-01)", "-"]
