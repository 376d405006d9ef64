"""transfer bench: every form of a run's model is measured and gives the masked model's outputs."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import transfer
from checkpoints.errors import InputError
from tests.export.networks import Chain, prune
from transfer.data.preprocess import Preprocess
from transfer.export import measure, variants
from transfer.export.measure import Measured
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs import predictor
from transfer.runs.bench_run import Bench, bench_run
from transfer.tasks.classification import Classification

FORMS = ["dense", "masked", "compact", "sparse", "compact, sparse"]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    monkeypatch.setattr(measure, "FEWEST", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose model is a small network; reading real ones is shown by the slow test and those of predictions."""
    look = Preprocess(16, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "bilinear")
    model = prune(Chain(), 0.9, 0).float()
    loaded = predictor.Predictor(model, Classification(tuple("abcdef")), look)
    monkeypatch.setattr(predictor, "load", lambda folder, which: loaded)
    return tmp_path


@pytest.mark.slow
def test_the_model_of_a_real_run(tmp_path: Path) -> None:
    few, short = Prune(method="magnitude", sparsity=0.95, rounds=1), Train(epochs=1, lr=0.02, precision="no")
    result = transfer.run(Recipe(name="tiny", data=Data(size=16), prune=few, train=short), out=tmp_path)
    (bench,) = bench_run(result.folder, batch_sizes=(2,))
    assert [row.form for row in bench.rows] == FORMS
    assert all(row.difference < 1e-5 for row in bench.rows if row.difference is not None)


@pytest.mark.slow
def test_every_form_is_measured(run: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    threads = torch.get_num_threads()
    code, out, err = command("bench", str(run), "--batch-sizes", "1", "3", "--best", "--json")
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["batch"], line["form"]) for line in lines] == [(n, form) for n in (1, 3) for form in FORMS]
    assert {(line["device"], line["threads"], line["size"], line["note"]) for line in lines} == {("cpu", 1, 16, "")}
    assert all(line["ms"] > 0 and line["speed_up"] > 0 for line in lines)
    assert all((line["difference"] is None) == (line["form"] == "dense") for line in lines)
    assert all(line["difference"] < 1e-5 for line in lines if line["form"] != "dense")
    assert torch.get_num_threads() == threads


def test_the_table_ends_with_what_to_use(
    run: Path, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "_tried", lambda make: "there is none, for a reason")
    code, out, err = command("bench", str(run), "--batch-sizes", "2")
    assert code == 0, err
    assert "there is none" in out
    wanted = "batch 2, 16 px, cpu, threads 1: use the masked model as it is; no form is 1.2 times as fast"
    assert out.splitlines()[-1] == wanted


def test_the_advice_is_the_fastest_form_that_is_right() -> None:
    rows = [
        Measured("dense", 10.0, 1.0),
        Measured("masked", 10.0, 1.0, 0.0),
        Measured("compact", 5.0, 2.0, 1e-7),
        Measured("sparse", 2.0, 5.0, 0.1, "the outputs differ"),
    ]
    assert Bench("cpu", 1, 8, 224, rows).advice().endswith("use compact, 2.0 times as fast as the masked model")
    assert Bench("cpu", 1, 8, 224, rows[:2]).advice().endswith("no form is 1.2 times as fast")


@pytest.mark.parametrize(("dense", "masked", "compact"), [(12.0, 10.0, 9.0), (10.0, 12.0, 9.0), (12.0, 10.0, 8.5)])
def test_noise_is_no_reason_for_another_form(dense: float, masked: float, compact: float) -> None:
    times = {"dense": dense, "masked": masked, "compact": compact}
    rows = [Measured(form, ms, dense / ms) for form, ms in times.items()]
    assert "use the masked model as it is" in Bench("cpu", 1, 8, 224, rows).advice()


def test_a_difference_that_is_not_finite_is_no_number_in_json() -> None:
    (line,) = Bench("cpu", 1, 8, 224, [Measured("compact", 9.0, 1.1, math.inf, "why")]).lines()
    assert json.loads(json.dumps(line, allow_nan=False))["difference"] is None


def test_a_form_with_other_outputs_is_noted(run: Path) -> None:
    model, images = predictor.load(run, which="last").model, torch.randn(2, 3, 16, 16)
    near, far = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        for other, step in ((near, 1e-7), (far, 1e-2)):
            for weight in other.parameters():
                weight.mul_(1 + step)
    rows = measure.measured(
        [("dense", model), ("masked", model), ("near", near), ("far", far), ("gone", "why")], images
    )
    assert [row.note for row in rows] == ["", "", "", "the outputs differ from the masked model's", "why"]
    assert rows[3].difference is not None
    assert rows[3].difference > measure.CLOSE


def test_the_dense_form_has_no_zeros_and_keeps_the_other_weights(run: Path) -> None:
    model = predictor.load(run, which="last").model
    full = variants.filled(model)
    for name, weight in model.named_parameters():
        other = full.get_parameter(name)
        assert torch.equal(weight, torch.where(weight == 0, weight, other))
        assert weight.dim() == 1 or bool((other != 0).all())


@pytest.mark.parametrize(("batches", "threads"), [((0,), 1), ((), 1), ((1,), 0)])
def test_numbers_are_checked_before_anything_is_measured(run: Path, batches: tuple[int, ...], threads: int) -> None:
    with pytest.raises(InputError, match="give numbers from 1"):
        next(bench_run(run, batch_sizes=batches, threads=threads))


def test_an_unfinished_run_is_one_line(tmp_path: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = command("bench", str(tmp_path))
    assert code == 2
    assert len(err.strip().splitlines()) == 1
