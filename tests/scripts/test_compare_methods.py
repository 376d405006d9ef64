"""The comparison's arithmetic by hand, its refusals, and one small run whose trace is found anew by autograd."""

import copy
import json
import sys
from argparse import Namespace

import pytest
import torch
from PIL import Image

from checkpoints.errors import InputError
from scripts import compare_methods as script
from scripts.compare_methods import Cell, cells, kept_of, line, matrices, triangle
from transfer.pruning import Masks, methods
from transfer.report import plots

ROW = {
    "method": "px", "sparsity": 0.98, "rounds": 100, "trace_kept": 0.012345, "top_kept": 0.5, "largest_kept": 2500.4,
    "outputs_kept": 0.0, "own_trace_kept": 0.25, "own_outputs_kept": 1.0, "empty_layers": ["a", "b"],
    "dead_units": 3, "units": 7, "effective_sparsity": None, "seconds": 1.26,
}  # fmt: skip


def test_every_method_at_every_sparsity_with_the_rounds_of_its_paper():
    found = cells(methods(), ["snip+px", "px+erk"], [0.9, 0.98], None)
    assert len(found) == 2 * (len(methods()) + 2)
    assert found[0] == Cell("random", None, "global", 0.9, 1)
    assert Cell("px", None, "global", 0.98, 100) in found
    assert found[-2:] == [Cell("snip", None, "px", 0.98, 100), Cell("px", None, "erk", 0.98, 100)]
    assert [cell.name for cell in found[-3:]] == [methods()[-1], "snip+px", "px+erk"]


def test_rounds_change_the_iterative_methods_alone():
    found = cells(["snip", "px"], ["px+snip", "snip+px", "snip+erk"], [0.9], 7)
    assert [cell.rounds for cell in found] == [1, 7, 1, 7, 1]


@pytest.mark.parametrize(
    ("names", "pairs", "sparsities", "rounds", "message"),
    [
        ([], [], [0.9], None, "ways to prune are \\[\\]; give one or more"),
        (["px", "px"], [], [0.9], None, "each once"),
        (["px"], [], [0.9, 0.9], None, "sparsities are .* each once"),
        (["pxx"], [], [0.9], None, "unknown method 'pxx'; did you mean px"),
        ([], ["snip"], [0.9], None, "give METHOD\\+ALLOCATION"),
        ([], ["snip+erq"], [0.9], None, "unknown allocation 'erq'"),
        (["px"], [], [1.0], None, "sparsity"),
        (["px"], [], [0.9], 0, "rounds"),
    ],
)
def test_what_cannot_be_compared_is_refused(names, pairs, sparsities, rounds, message):
    with pytest.raises(InputError, match=message):
        cells(names, pairs, sparsities, rounds)


def test_fractions_by_hand():
    found = kept_of((10.0, torch.tensor([6.0, 2.0])), (1.0, torch.tensor([0.75, 0.25])))
    assert found == {
        "trace_kept": 0.1, "top_kept": 0.125, "largest_kept": 0.125, "trace": 1.0, "top": [0.75, 0.25]
    }  # fmt: skip


def test_matrices_and_their_triangle_by_hand():
    a, b = (Masks({"x": torch.tensor([bit == "1" for bit in text])}) for text in ("11000000", "10100000"))
    found = matrices({"a": a, "b": b})
    assert found["names"] == ["a", "b"]
    assert found["found"] == [[1, 1 / 3], [1 / 3, 1]]
    expected = 0.5 / 3.5  # kept by both: 2 · 2 / 8; by either: 2 + 2 − 0.5
    assert found["expected"][1][0] == found["expected"][0][1] == pytest.approx(expected)
    assert triangle(found) == [("a", "", ""), ("b", "33 (14)", "")]


def test_a_line_of_the_table():
    shares = ("1.23%", "50.00%", "2,500×", "0.00%", "25.00%", "100.00%")
    expected = ("px", "98.00%", "100", *shares, "2", "3 of 7", "not known", "1.3")
    assert line(ROW) == expected
    assert len(expected) == len(script.COLUMNS)


def test_plots_take_a_trace_of_zero_and_lists_of_different_lengths(tmp_path):
    plots.kept_trace([ROW, ROW | {"sparsity": 0.9, "trace_kept": 0.0}], tmp_path / "kept.png", title="")
    plots.kept_trace([ROW | {"trace_kept": 0.0}], tmp_path / "nothing.png", title="")
    one, two = {"names": ["a"], "found": [[1]], "expected": [[1]]}, {"names": ["a", "b"], "found": [[1, 0], [0, 1]]}
    plots.overlaps({"0.9": one, "0.98": {**two, "expected": two["found"]}}, tmp_path / "overlap.png", title="")
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            image.verify()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_a_small_run_writes_what_autograd_finds_too(tmp_path, monkeypatch, capsys):
    flags = "--methods magnitude --allocation snip+erk --sparsities 0.98 --images 2 --per-class 1 --out"
    monkeypatch.setattr(sys, "argv", ["compare_methods.py", *flags.split(), str(tmp_path)])
    script.main()
    assert "[2/2] snip+erk at 98.00%" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {
        "compare_methods.json", "compare_methods.md", "kept-trace.png", "overlap.png", "masks"
    }  # fmt: skip
    found = json.loads((tmp_path / "compare_methods.json").read_text())
    assert [row["method"] for row in found["rows"]] == ["magnitude", "snip+erk"]
    assert "not trained" in found["settings"]["head"]
    model, _, images = script.prepare(Namespace(data="digits", images=2, per_class=1, seed=0, device="cpu"))
    for row in found["rows"]:
        masks = Masks.load(tmp_path / "masks" / f"{row['method']}-0.98.safetensors")
        assert masks.digest() == row["digest"]
        assert row["kept"] == masks.kept == 5418  # 270,896 less 265,478
        assert row["trace"] == pytest.approx(trace(model, images, masks), rel=1e-4)
        assert row["trace_kept"] == pytest.approx(row["trace"] / found["dense"]["trace"])
    full = Masks.full({name: dict(model.named_parameters())[name] for name in masks})
    assert found["dense"]["trace"] == pytest.approx(trace(model, images, full), rel=1e-4)


def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare_methods.py", "--data", "voc-samples", "--out", str(tmp_path / "x")])
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert "dataset 'voc-samples' is unknown" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def trace(model, images, masks):
    """Sum the squared gradients of every output by every kept weight, one output at a time."""
    pruned = copy.deepcopy(model)
    masks.apply_(pruned)
    weights = [dict(pruned.named_parameters())[name] for name in masks]
    total = 0.0
    for image in images:
        for output in pruned(image[None])[0]:
            gradients = torch.autograd.grad(output, weights, retain_graph=True)
            total += sum(
                float(g[mask].double().square().sum()) for g, mask in zip(gradients, masks.values(), strict=True)
            )
    return total
