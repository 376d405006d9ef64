"""scripts/bench_payoff.py in miniature: figures of a network counted by hand, and a case that has no compact form."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from scripts import bench_payoff as script
from transfer.export import measure


def pruned() -> nn.Module:
    """Two convolutions; the second reads only the first channel of four."""
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(one=nn.Conv2d(3, 4, 1), act=nn.ReLU(), two=nn.Conv2d(4, 2, 1)))
    with torch.no_grad():
        model.two.weight[:, 1:] = 0
    return model.eval()


def test_the_figures_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    monkeypatch.setattr(measure, "FEWEST", 1)
    found = script.payoff(pruned(), torch.randn(1, 3, 5, 5))
    assert found["parameters"] == {"dense": 26, "kept": 20, "compact": 3 + 1 + 2 + 2}
    assert found["multiply_adds"] == {"dense": 25 * 20, "kept": 25 * 14, "compact": 25 * 5}
    assert found["bytes"]["dense"] > 4 * 26
    assert set(found["ms"]) == set(script.FORMS)
    assert all(ms > 0 for ms in found["ms"].values())
    assert found["difference"] < 1e-6
    assert found["notes"] == []


def test_a_row_of_the_table(tmp_path: Path) -> None:
    line = {
        "network": "embedded", "method": "px", "pattern": "2:4", "sparsity": 0.5, "batch": 1, "threads": 1,
        "bytes": {"dense": 1_000_000, "sparse": 60_400, "compact": None},
        "parameters": {"dense": 200, "kept": 100, "compact": None},
        "multiply_adds": {"dense": 400, "kept": 100, "compact": None},
        "ms": {"dense": 4.0, "masked": 4.0, "compact": None, "sparse": 2.0, "compact, sparse": None},
    }  # fmt: skip
    (tmp_path / "lines.jsonl").write_text(json.dumps(line))
    shown = script.table(tmp_path / "lines.jsonl").splitlines()
    assert shown[0] == "**ResNet-20, 32 px**, batch 1, 1 thread"
    cells = "| px | 50.00%, 2:4 | 1,000 kB | 60 kB | - | 50.0% | - | 25.0% | - | 4.0 | 1.00 | - | 2.00 | - |"
    assert shown[-1] == cells
