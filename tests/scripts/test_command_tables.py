"""The tables of figures, probes and searches, from files in the form that their commands write."""

import json
import sys
from pathlib import Path

import pytest

from scripts import command_tables
from scripts.grid_cells import PAIRS, settings
from scripts.grid_csv import Table, csv_of
from transfer.figures.dynamics import DISTANCE, OUTPUTS

FIT = {"a": 0.5, "r2": 0.875, "rate": 0.00025}
LAYER = {"method": "px", "units": 4}
FILES = {
    "spectrum": (
        {"rows": [{"network": "dense", "rows": 4, "values": [3.0, 1.0], "residual": None}]},
        "| dense | 4 rows, exact | 3 | 4 | 100.00% |  |",
    ),
    "bounds": (
        {"rows": [{"method": "px", "sparsity": 0.9, "trace": 1.0, "tight": 2.0, "loose": 3.0, "path_kernel": None}]},
        "| 90.00% | px | 1.00 | 2.00 | 3.00 | no path |",
    ),
    "units": (
        {
            "rows": [
                {"method": "px", "layer": layer, "units": 4, "living": alive}
                for layer, alive in {"a": 4, "b": 1}.items()
            ]
        },
        "| px | 5 of 8 | 62.50% | 0 | 25.00% in b |",
    ),
    "rounds": (
        {
            "settings": {"recipe": {"data": {"name": "digits"}}},
            "rows": [{"method": "px", "rounds": 5, "mean": 0.9, "std": None, "seconds": 1.5}],
        },
        "| px | 90.00%, 1.50 s |",
    ),
    "dynamics": ({"rows": [], "fits": {DISTANCE: FIT, OUTPUTS: FIT}}, f"| {OUTPUTS} | 0.5 | 0.00025 | 0.875 |"),
}


def test_all_figures_are_here():
    assert set(FILES) == set(command_tables.FIGURES)


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["command_tables.py", *map(str, words)])
    command_tables.main()
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("name", FILES)
def test_figure(name: str, tmp_path: Path, monkeypatch, capsys):
    content, line = FILES[name]
    path = tmp_path / f"{name}-seed0.json"
    path.write_text(json.dumps(content))
    assert printed(monkeypatch, capsys, path)[-1] == line


def test_probes_of_a_method_are_averaged_and_dense_is_shown_once(tmp_path: Path, monkeypatch, capsys):
    paths = []
    for method, seed, value in (("px", 0, 0.5), ("px", 1, 0.75), ("snip", 0, 0.25)):
        rows = [
            {"data": "letters", "seen": False, "backbone": kind, "ridge": of, "logistic": of}
            for kind, of in (("dense", 0.9), ("pruned", value))
        ]
        paths.append(tmp_path / f"probe-{method}-{seed}.json")
        paths[-1].write_text(json.dumps({"settings": {"method": method, "seed": seed}, "rows": rows}))
    assert printed(monkeypatch, capsys, *paths) == printed(monkeypatch, capsys, tmp_path)
    assert printed(monkeypatch, capsys, tmp_path)[2:] == [
        "| letters |  | dense | 90.00 ± 0.00 | 90.00 ± 0.00 |",
        "| letters | px | pruned | 62.50 ± 17.68 | 62.50 ± 17.68 |",
        "| letters | snip | pruned | 25.00 | 25.00 |",
    ]


def test_search_beside_full_trainings(tmp_path: Path, monkeypatch, capsys):
    recipe = {"prune": {"sparsity": 0.982, "rounds": 20}, "train": {"warmup": 1}}
    trials = [{"method": "px", "values": [0.1, 0.2, 0.3, 0.9]}, {"method": "magnitude", "values": [0.1, 0.15]}]
    content = {"recipe": recipe, "rungs": [{"epochs": 2}, {"epochs": 4}], "trials": trials}
    (tmp_path / "search.json").write_text(json.dumps(content))
    grid = settings("digits", PAIRS["digits"])
    for accuracy in (0.9, 0.95):
        row = {"way": "px:batch:20", "sparsity": 0.982, "accuracy": accuracy}
        Table(csv_of(tmp_path, "digits")).append({**grid, **row})
    assert printed(monkeypatch, capsys, tmp_path / "search.json") == [
        "| method | epoch 1 | epoch 2 | epoch 4 |",
        "| --- | ---: | ---: | ---: |",
        "| px | 10.0 | 20.0 | 90.0 |",
        "| magnitude | 10.0 | 15.0 |  |",
    ]
    *_, px, magnitude = printed(monkeypatch, capsys, tmp_path / "search.json", "--accuracies", tmp_path)
    assert px == "| px | 10.0 | 20.0 | 90.0 | 92.5 (2) |"
    assert magnitude == "| magnitude | 10.0 | 15.0 |  |  |"


@pytest.mark.parametrize("names", ["results.json", "bounds-seed0.json probe.json", "units-1.json units-2.json"])
def test_other_files(names: str, tmp_path: Path, monkeypatch, capsys):
    for name in names.split():
        (tmp_path / name).write_text("{}")
    with pytest.raises(SystemExit) as left:
        printed(monkeypatch, capsys, *(tmp_path / name for name in names.split()))
    assert left.value.code == 2
    assert "give" in capsys.readouterr().err
