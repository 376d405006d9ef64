"""The tables of packed runs and of kernels, from small files made by hand."""

import json
import sys
from pathlib import Path

import pytest

from scripts import ntk_tables, results
from scripts.grid_cells import PAIRS, settings
from scripts.grid_csv import Table, csv_of
from tests.report.run_folders import write_run
from transfer.runs.report_runs import report


def printed(script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, words)])
    script.main()
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed, value in ((0, 0.94), (1, 0.96)):
        write_run(tmp_path / "runs", "dense", 0.0, seed, 0.95)
        write_run(tmp_path / "runs", "px", 0.9, seed, value)
        write_run(tmp_path / "runs", "snip", 0.9, seed, 0.9)
        write_run(tmp_path / "runs", "snip", 0.98, seed, 0.8)
    report([tmp_path / "runs"], out=tmp_path / "report", pack=tmp_path / "runs.zip")
    return tmp_path / "runs.zip"


def test_accuracies_by_way_and_sparsity(runs, monkeypatch, capsys):
    _, _, *rows = printed(results, monkeypatch, capsys, runs)
    assert rows == [
        "| dense | 95.00 ± 0.00 | 95.00 ± 0.00 |",
        "| px | **95.00 ± 1.41** | – |",
        "| snip | 90.00 ± 0.00 | **80.00 ± 0.00** |",
    ]


def test_columns_of_the_report(runs, monkeypatch, capsys):
    head, _, dense, px, *_ = printed(results, monkeypatch, capsys, runs, "--columns", "sparsity", "weights kept")
    assert head == "| method | sparsity | weights kept |"
    assert dense.startswith("| dense | 0.00% |")
    assert px.startswith("| px | 89.98% | 384 |")


def test_each_way_beside_the_best(runs, monkeypatch, capsys):
    _, _, row = printed(results, monkeypatch, capsys, runs, "--noise", "0.9")
    assert row.startswith("| snip | px | -5.00 points |")
    assert row.endswith("| within noise |")


def of_kernel(method: str, sparsity: float, share: float) -> dict:
    return {
        "method": method, "sparsity": sparsity, "rounds": 20, "empty_layers": ["a"], "dead_units": 3,
        **dict.fromkeys(ntk_tables.SHOWN.values(), share),
    }  # fmt: skip


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    ways = ("px", "px:running", "synflow")
    rows = [of_kernel(way, level, 0.25) for level in (0.9, 0.982) for way in ways]
    found = {"names": ways, "found": [[1, 0.5, 0.2], [0.5, 1, 0.3], [0.2, 0.3, 1]], "expected": [[0.1] * 3] * 3}
    (tmp_path / "ntk.json").write_text(json.dumps({"rows": rows, "overlaps": {"0.9": found, "0.982": found}}))
    grid = settings("digits", PAIRS["digits"])
    table = Table(csv_of(tmp_path, "digits"))
    cells = [("px:batch:20", 0.9), ("px:batch:20", 0.92), ("px:running:20", 0.95), ("snip:batch", 1.0)]
    for name, accuracy in (*cells, ("px:batch:20,bf16=true", 0.0)):
        table.append({**grid, "sparsity": 0.982, "way": name, "accuracy": accuracy})
    return tmp_path


def test_what_is_kept_of_the_kernel_beside_the_accuracies(kernels, monkeypatch, capsys):
    words = (kernels / "ntk.json", "--sparsity", 0.982, "--accuracies", kernels)
    _, _, *rows = printed(ntk_tables, monkeypatch, capsys, *words)
    shares = " | ".join(["25.00%"] * 5)
    assert rows == [
        f"| `px:running` | 95.00 | 20 | {shares} | 1 | 3 |",
        f"| `px` | 91.00 ± 1.41 | 20 | {shares} | 1 | 3 |",
        f"| `synflow` | - | 20 | {shares} | 1 | 3 |",
    ]


def test_without_accuracies_the_order_stays(kernels, monkeypatch, capsys):
    _, _, first, *_ = printed(ntk_tables, monkeypatch, capsys, kernels / "ntk.json", "--sparsity", 0.9)
    assert first.endswith("| 1 | 3 |")
    assert first.startswith("| `px` |")


def test_the_nearest_masks(kernels, monkeypatch, capsys):
    head, _, *rows = printed(ntk_tables, monkeypatch, capsys, kernels / "ntk.json", "--nearest")
    assert head == "| way | nearest at 90.00% | nearest at 98.20% |"
    assert rows[2] == "| `synflow` | `px:running`: 30 (10) | `px:running`: 30 (10) |"
