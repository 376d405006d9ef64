"""The smallest file near dense, for metrics of both directions, and what is said where nothing is known."""

import math

import pytest

from tests.report.records import record
from transfer import tasks
from transfer.report.recommend import lines, recommendation
from transfer.report.sections import split
from transfer.tasks import Metric
from transfer.tasks.classification import Classification


def section(*records):
    (found,), _ = split(records)
    return found


DENSE = [record("dense", 0.0, seed, value, size=4000) for seed, value in enumerate((0.95, 0.96))]
NEAR = [record("px", 0.9, seed, value, size=500) for seed, value in enumerate((0.945, 0.953))]
FAR = [record("px", 0.99, seed, value, size=100) for seed, value in enumerate((0.7, 0.8))]
SNIP = [record("snip", 0.9, seed, value, size=499) for seed, value in enumerate((0.93, 0.93))]


def test_the_smallest_file_within_the_distance():
    found = recommendation(section(*DENSE, *NEAR, *FAR, *SNIP), within=1.0)
    assert found.startswith(
        "The smallest file within 1 percentage point of dense: px at 90.00% sparsity: 500 B instead of 4 kB (12.5%), "
        "accuracy 94.90% ± 0.57, dense 95.50% ± 0.71; difference -0.60 points (95% interval -1.87 to +0.67, n = 2 seeds"
    )


@pytest.mark.parametrize(("within", "method"), [(3.0, "snip at 90"), (50.0, "px at 99")])
def test_a_larger_distance_allows_a_smaller_file(within, method):
    assert f"of dense: {method}" in recommendation(section(*DENSE, *NEAR, *FAR, *SNIP), within)


def test_nothing_is_near():
    found = recommendation(section(*DENSE, *FAR), within=1.0)
    assert found.startswith("No pruned model is within 1 percentage point of dense. The nearest is px at 99.00%")


def test_without_a_dense_run_there_is_no_distance():
    assert "no dense run" in recommendation(section(*NEAR), within=1.0)


def test_one_seed_says_that_noise_is_unknown():
    assert "(n = 1 seed: noise unknown)" in recommendation(section(DENSE[0], NEAR[0]), within=1.0)


def test_without_files_the_fewest_weights():
    runs = [record("dense", 0.0, value=0.95), record("px", 0.9, value=0.95), record("px", 0.5, value=0.95)]
    found = recommendation(section(*runs), within=0.0)
    assert found.startswith("The fewest weights (not all files are there to be measured) within 0")
    assert "px at 90.00%" in found


def test_a_value_that_is_no_number_is_not_recommended():
    found = lines(section(*DENSE, *NEAR, record("snip", 0.9, 0, math.nan, size=1)), within=1.0)
    assert "of dense: px at 90" in found[0]
    assert found[1] == "At 90.00%: best mean px, 94.90% ± 0.57. Difference not a number: snip."


ABLATED = [record("px", 0.9, seed, 0.99, size=100, prune={"ablate": "shuffle"}) for seed in (0, 1)]


def test_ablated_runs_are_compared_but_never_recommended():
    found = lines(section(*DENSE, *NEAR, *ABLATED), within=1.0)
    assert "of dense: px at 90.00%" in found[0]
    assert found[1].startswith("At 90.00%: best mean px, 94.90% ± 0.57. Difference ")
    assert found[1].endswith("noise: px (ablate shuffle).")
    assert lines(section(*DENSE, *ABLATED), within=1.0) == [
        "No pruned model is within 1 percentage point of dense.", "At 90.00%: only ablated runs.",
    ]  # fmt: skip


def test_smaller_is_better(monkeypatch: pytest.MonkeyPatch):
    class Angles(Classification):
        name = "angles"
        headline = Metric("rmse", "RMSE (degrees)", larger_is_better=False, percent=False)

    monkeypatch.setitem(tasks._TASKS, "angles", Angles)
    dense = record("dense", 0.0, task="angles", rmse=3.0, size=4000)
    runs = [record(m, 0.9, task="angles", rmse=rmse, size=9) for m, rmse in (("px", 3.5), ("snip", 2.5), ("random", 9))]
    found = lines(section(dense, *runs), within=0.4)
    assert found[0].startswith("The smallest file within 0.4 RMSE (degrees) of dense: snip at 90.00% sparsity: 9 B")
    assert "RMSE (degrees) 2.5, dense 3; difference -0.5 (n = 1 seed: noise unknown)" in found[0]
    assert found[1] == "At 90.00%: best mean snip, 2.5. Difference noise unknown: px, random."
