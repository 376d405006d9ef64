"""Figures of a small network: their numbers against the calls that they stand for, their files, bad input."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from checkpoints.errors import InputError
from checkpoints.files import check_folder
from tests.analysis.test_ntk import Joined
from tests.pruning.small_nets import images, randomised
from transfer import figure_cli
from transfer.analysis.ntk import ntk
from transfer.figures import bounds, dynamics, rounds, spectrum, units
from transfer.figures.subject import Subject, subject_of
from transfer.pruning import Masks, path_kernel_trace
from transfer.pruning.calibration import recalibrate
from transfer.pruning.rewinding import default_rounds
from transfer.recipe import Prune, Recipe, Train
from transfer.report import paper_plots, plots
from transfer.tasks import Metric

Outcome = tuple[int, str, str]
Command = Callable[..., Outcome]


@pytest.fixture
def subject() -> Subject:
    model = randomised(Joined())
    about = {"seed": 0, "backbone": "small", "data": "noise", "images": 3}
    return Subject(model, [images(model.shape, 8, classes=2)], images(model.shape, 3, seed=1)[0], about)


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is drawn; no picture is rendered."""
    found: list[Any] = []

    def keep(figure: Any, path: Path) -> None:
        found.append(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    monkeypatch.setattr(plots, "_write", keep)
    return found


def lines(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_spectrum_has_the_eigenvalues_of_each_kernel(subject: Subject, tmp_path: Path, drawn: list[Any]) -> None:
    rows = spectrum.of_methods(subject, ["magnitude"], sparsity=0.5, rounds=1, top=2, out=tmp_path)
    masks, _ = subject.masks("magnitude", 0.5)
    model = randomised(Joined())
    masks.apply_(model)
    recalibrate(model, subject.seen)
    wanted = torch.linalg.eigvalsh(ntk(model, subject.images, masks)).flip(0)
    torch.testing.assert_close(torch.tensor(rows[1]["values"], dtype=torch.float64), wanted)
    assert [row["network"] for row in rows] == ["dense", "magnitude"]
    content = json.loads((tmp_path / "spectrum.json").read_text())
    assert content["rows"] == rows
    table = lines(tmp_path / "spectrum.csv")
    assert [(row["network"], row["index"]) for row in table[:1] + table[6:7]] == [("dense", "1"), ("magnitude", "1")]
    assert [line.get_label() for line in drawn[0].axes[0].lines] == ["dense", "magnitude"]
    assert spectrum.table(rows)[0][1:] == ("6 rows, exact", *spectrum.table(rows)[0][2:4], "100.00%", "")
    assert sum(map(float, [row["eigenvalue"] for row in table[6:]])) == pytest.approx(rows[1]["trace"])


def test_bounds_have_a_row_for_each_method_and_sparsity(subject: Subject, tmp_path: Path, drawn: list[Any]) -> None:
    rows = bounds.of_methods(subject, ["magnitude", "px"], sparsities=(0.3, 0.6), rounds=2, out=tmp_path)
    assert [(row["method"], row["sparsity"]) for row in rows] == [
        ("dense", 0.0), ("magnitude", 0.3), ("magnitude", 0.6), ("px", 0.3), ("px", 0.6),
    ]  # fmt: skip
    masks, _ = subject.masks("px", 0.6, 2)
    kernel = path_kernel_trace(subject.under(masks), (3, 4, 4), masks=masks)
    assert 10 ** rows[-1]["path_kernel"] == pytest.approx(kernel, rel=1e-4)
    assert len(lines(tmp_path / "bounds.csv")) == 5
    assert len(drawn[0].axes) == 4
    assert all(len(row) == len(bounds.COLUMNS) for row in bounds.table(rows))


def test_units_are_counted_by_hand(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Masks.full({n: p for n, p in subject.model.named_parameters() if p.dim() > 1})
    half = Masks({**full, "b.weight": full["b.weight"] & (torch.arange(3) > 0).view(3, 1, 1, 1)})
    monkeypatch.setattr(Subject, "masks", lambda *_: (half, 0.0))
    rows = units.of_methods(subject, ["px"], sparsity=0.1, rounds=1, out=tmp_path)
    assert {row["layer"]: (row["living"], row["units"]) for row in rows} == {
        "a": (2, 2), "b": (2, 3), "c": (3, 3), "fc": (2, 2),
    }  # fmt: skip
    assert units.table(rows) == [("px", "9 of 10", "90.00%", "0", "66.67% in b")]
    assert lines(tmp_path / "units.csv")[1] == {"method": "px", "layer": "b", "units": "3", "living": "2"}


def test_rounds_are_cells_of_ordinary_runs() -> None:
    recipe = Recipe("r", prune=Prune(sparsity=0.5))
    found = rounds.cells(recipe, ["px", "magnitude"], [1, 5], [0, 1])
    assert [(cell.prune.method, cell.resolved().prune.rounds, cell.seed) for cell in found] == [
        ("px", 1, 0), ("px", 1, 1), ("px", 5, 0), ("px", 5, 1), ("magnitude", 1, 0), ("magnitude", 1, 1),
    ]  # fmt: skip


def test_each_cell_of_rounds_has_what_its_method_reads() -> None:
    recipe = Recipe("r", prune=Prune("px", 0.5, options=("batches=2",), statistics="running"))
    found = rounds.cells(replace(recipe, prune=replace(recipe.prune, options=())), ["px", "magnitude", "imp"], [2], [0])
    assert [(c.prune.method, c.prune.statistics, c.resolved().prune.rounds) for c in found] == [
        ("px", "running", 2), ("magnitude", None, 1), ("imp", None, default_rounds(0.5)),
    ]  # fmt: skip
    *_, imp = rounds.cells(Recipe("r", prune=Prune("imp", 0.5, options=("rewind=1",))), ["px", "imp"], [2], [0])
    assert imp.prune.options == ("rewind=1",)


def test_rounds_are_shown_in_the_metric_of_the_task(tmp_path: Path, drawn: list[Any]) -> None:
    rows = [{"method": "px", "rounds": 1, "mean": 3.25, "std": 0.5, "seconds": 1.0}]
    degrees = Metric("rmse", "RMSE (degrees)", larger_is_better=False, percent=False)
    assert rounds.table(rows, degrees) == [("px", "3.25 ± 0.5, 1.00 s")]
    paper_plots.rounds(rows, degrees, tmp_path / "rounds.png", title="t")
    axes = drawn[0].axes[0]
    assert axes.get_title() == "test RMSE (degrees)"
    assert axes.lines[0].get_ydata().tolist() == [3.25]


def test_the_table_of_rounds_is_that_of_the_paper() -> None:
    row = {"method": "px", "rounds": 1, "mean": 0.7615, "std": None, "seconds": 0.14}
    rows = [row, {**row, "rounds": 10, "mean": 0.77, "std": 0.01}, {**row, "method": "random", "mean": 0.5}]
    assert rounds.columns(rows) == ("method", "T = 1", "T = 10")
    assert rounds.table(rows, Metric("accuracy", "accuracy")) == [
        ("px", "76.15%, 0.14 s", "77.00% ± 1.00, 0.14 s"), ("random", "50.00%, 0.14 s", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("methods", "counts", "seeds", "sparsity", "match"),
    [
        ([], [1], [0], 0.5, "methods are"),
        (["px"], [1, 1], [0], 0.5, "rounds are"),
        (["px"], [1], [0], 0.0, "sparsity is 0"),
        (["pxx"], [1], [0], 0.5, "unknown method"),
        (["px"], [0], [0], 0.5, "prune.rounds is 0"),
        (["px", "gmp"], [1], [0], 0.5, "gmp prunes while it fine-tunes"),
    ],
)
def test_bad_rounds(methods: list[str], counts: list[int], seeds: list[int], sparsity: float, match: str) -> None:
    with pytest.raises(InputError, match=match):
        rounds.cells(Recipe("r", prune=Prune(sparsity=sparsity)), methods, counts, seeds)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ((), "say which figure"),
        (("spectum",), "did you mean spectrum"),
        (("spectrum", "--methods", "pxx"), "unknown method"),
        (("spectrum", "--methods", "px", "px"), "each once"),
        (("units", "--sparsity", "1.0"), "above 0 and below 1"),
        (("bounds", "--sparsities"), "sparsities"),
        (("spectrum", "--data", "voc-sample", "--methods", "px"), "no class per image"),
        (("spectrum", "nowhere"), "is nowhere the folder of a run"),
        (("spectrum", "run", "--methods", "px"), "--methods is set, but the recipe of run decides it"),
        (("spectrum", "run", "--per-class", "3"), "--per-class is set"),
        (("spectrum", "--methods", "imp"), "imp prunes while it trains"),
        (("rounds", "--rounds", "0"), "0"),
        (("dynamics", "--widths", "10", "--compressions", "1"), "fewer than 3 nets"),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...], match: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = command("figure", *words)
    assert code == 2
    assert match in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_help_names_every_figure(command: Command) -> None:
    code, out, _ = command("figure", "--help")
    assert code == 0
    assert all(name in out for name in figure_cli.FIGURES)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        check_folder(tmp_path / "file")


def test_the_fit_finds_a_curve_again_and_says_when_there_is_none() -> None:
    kernels = np.geomspace(0.01, 100, 12)
    fit = dynamics.fitted(kernels, 3.0 * (1 - np.exp(-0.2 * kernels)))
    assert (fit["a"], fit["rate"], fit["r2"]) == pytest.approx((3.0, 0.2, 1.0), rel=1e-5)
    poor = dynamics.fitted(kernels, [1.0, -1.0] * 6)
    assert poor is not None
    assert poor["r2"] < 0.3


def test_no_fit_is_a_result(tmp_path: Path, drawn: list[Any]) -> None:
    assert dynamics.fitted([1.0, 2.0], [1.0, 2.0]) is None
    assert dynamics.fitted([1.0, 2.0, 4.0], [3.0, 3.0, 3.0]) is None  # R² is 0 / 0
    assert dynamics.fitted([1.0, 2.0, 4.0], [1.0, float("nan"), 3.0]) is None
    rows = [{"width": 5, "path_kernel": kernel} for kernel in (None, 0.0, 1.0)]
    found = dynamics.lines(rows, {"moved": None, "out": {"a": 1.0, "rate": 0.5, "r2": 0.9}})
    assert found[0] == "2 of 3 nets are left out of the fits: Tr Π is 0 or beyond floats"
    assert found[1].startswith("moved: no fit")
    assert found[2] == "out: 1 (1 - exp(-0.5 Tr Π)), R² 0.900"
    paper_plots.dynamics([], {"moved": None, "out": None}, tmp_path / "dynamics.png", title="t")
    assert drawn[0].axes[0].get_title() == "no fit"


def test_nets_without_a_path_keep_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = iter((0.0, None, 1.0, 2.0, 4.0))
    monkeypatch.setattr(dynamics, "_images", lambda _: (None, 2))
    monkeypatch.setattr(dynamics, "_row", lambda _s, _b, _c, width, power: {
        "width": width, "compression": power, "path_kernel": next(kernels), dynamics.DISTANCE: 1.0 + width,
        dynamics.OUTPUTS: 1.0,
    })  # fmt: skip
    start = dynamics.Start("digits", "px", 1, 8, 1, 1, 0.1, 0)
    rows, fits = dynamics.of_widths(start, (1, 2, 3, 4, 5), (1.0,), tmp_path)
    assert [row["path_kernel"] for row in rows] == [0.0, None, 1.0, 2.0, 4.0]
    assert (fits[dynamics.DISTANCE] is not None, fits[dynamics.OUTPUTS]) == (True, None)
    assert len(lines(tmp_path / "dynamics.csv")) == len(dynamics.table(rows)) == 5


@pytest.mark.parametrize(
    ("recipe", "fresh", "reset"),
    [
        (Recipe("r", prune=Prune("magnitude", 0.5, ablate="reinit")), True, True),
        (Recipe("r", train=Train(freeze_norm=True)), False, False),
        (Recipe("r", train=Train(freeze_norm=True), prune=Prune(recalibrate=True)), False, True),
    ],
)
def test_a_run_is_shown_as_its_fine_tuning_began(subject: Subject, recipe: Recipe, fresh: bool, reset: bool) -> None:
    masks, _ = subject.masks("magnitude", 0.5)
    own = replace(subject, recipe=recipe).under(masks)
    before, after = subject.model.state_dict(), own.state_dict()
    assert any(not torch.equal(before[name] * mask, after[name]) for name, mask in masks.items()) == fresh
    changed = [not torch.equal(before[name], after[name]) for name in before if name.endswith("running_mean")]
    assert set(changed) == {reset}


def test_training_is_gradient_descent_over_the_kept_weights() -> None:
    draw = np.random.default_rng(0)
    x, y, weight = draw.standard_normal((6, 4)), draw.standard_normal((6, 2)), draw.standard_normal((2, 4))
    mask = draw.random((2, 4)) < 0.5
    weight *= mask
    model = torch.nn.Linear(4, 2, bias=False).double()
    model.weight.data = torch.from_numpy(weight.copy())
    masks = Masks({"weight": torch.from_numpy(mask)})
    found = dynamics.trained(model, masks, torch.from_numpy(x), torch.from_numpy(y), 5, 0.1)
    start = weight.copy()
    for _ in range(5):
        weight -= 0.1 * mask * ((x @ weight.T - y).T @ x) / 6
    assert found == pytest.approx((np.linalg.norm(weight - start), np.linalg.norm(x @ weight.T)))


@pytest.mark.slow
def test_dynamics_of_two_widths(command: Command, tmp_path: Path, drawn: list[Any]) -> None:
    small = ("--widths", "10", "20", "--compressions", "0.5", "1", "--rounds", "2", "--steps", "3", "--per-class", "1")
    code, out, err = command("figure", "dynamics", *small, "--out", str(tmp_path))
    assert code == 0, err
    assert "R²" in out
    assert [(row["width"], row["compression"]) for row in lines(tmp_path / "dynamics.csv")] == [
        ("10", "0.5"), ("10", "1.0"), ("20", "0.5"), ("20", "1.0"),
    ]  # fmt: skip
    assert len(drawn[0].axes) == 2
    code, _, err = command("figure", "dynamics", *small, "--lr", "1e9", "--out", str(tmp_path))
    assert (code, "diverged; give a lower --lr" in err) == (1, True)


@pytest.mark.slow
def test_the_embedded_backbone_and_a_run(command: Command, tmp_path: Path) -> None:
    few = ("--per-class", "1", "--methods", "magnitude")
    for name, flags in (
        ("spectrum", ("--images", "1")),
        ("bounds", ("--images", "1", "--sparsities", "0.9")),
        ("units", ()),
    ):
        code, out, err = command("figure", name, *few, *flags, "--out", str(tmp_path / name))
        assert code == 0, err
        assert f"picture {tmp_path / name / name}.png" in out
    small = ("--data.size", "16", "--train.epochs", "0", "--prune.per-class", "1", "--methods", "magnitude")
    words = (*small, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "rounds"))
    code, first, err = command("figure", "rounds", *words)
    assert code == 0, err
    assert command("figure", "rounds", *words)[1] == first  # from the finished runs, times included
    run = next((tmp_path / "runs").glob("*magnitude*"))
    code, _, err = command("figure", "spectrum", str(run), "--images", "1")
    assert code == 0, err
    found = json.loads((run / "spectrum.json").read_text())
    assert len(found["dense"]) == len(found["pruned"]) == 10
    assert found["dense"][0] > found["pruned"][0]
    (run / "masks.safetensors").unlink()
    code, _, err = command("figure", "spectrum", str(run), "--images", "1")
    assert (code, "pruned nothing" in err) == (2, True)


@pytest.mark.slow
def test_the_subject_has_the_images_that_were_asked_for() -> None:
    subject = subject_of("embedded", "digits", size=16, per_class=1, images=3)
    assert tuple(subject.images.shape) == (3, 3, 16, 16)
    assert subject.about["pruning_images"] == 10
