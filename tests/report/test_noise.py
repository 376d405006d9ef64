"""Paired differences agree with scipy's own test, and say when nothing is known of the noise."""

import math

import pytest
from scipy import stats

from transfer.report.noise import difference, paired
from transfer.tasks import Metric

ONE, OTHER = {0: 0.91, 1: 0.95, 2: 0.90, 3: 0.93}, {1: 0.90, 2: 0.89, 3: 0.91, 7: 0.1}
ACCURACY = Metric("accuracy", "accuracy")


def test_the_interval_is_that_of_the_paired_t_test():
    found = paired(ONE, OTHER)
    wanted = stats.ttest_rel([0.95, 0.90, 0.93], [0.90, 0.89, 0.91]).confidence_interval(0.95)
    assert found.n == 3
    assert found.interval == pytest.approx((wanted.low, wanted.high))
    assert found.mean == pytest.approx(0.08 / 3)


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.03])
def test_the_verdict_is_that_of_the_test_at_five_percent(shift):
    one = {seed: value + shift for seed, value in ONE.items()}
    other = {0: 0.915, 1: 0.94, 2: 0.91, 3: 0.925}
    significant = stats.ttest_rel(list(one.values()), list(other.values())).pvalue < 0.05
    assert paired(one, other).verdict == ("beyond noise" if significant else "within noise")


def test_one_seed_tells_nothing_of_the_noise():
    found = paired({0: 0.9}, {0: 0.8})
    assert (found.interval, found.verdict) == (None, "noise unknown")
    assert found.text(ACCURACY) == "+10.00 points (n = 1 seed: noise unknown)"


def test_a_value_that_is_no_number_stays_one():
    found = paired({0: math.nan, 1: 0.9}, {0: 0.8, 1: 0.8})
    assert math.isnan(found.mean)
    assert found.verdict == "not a number"
    assert found.text(ACCURACY).startswith("+nan points")


def test_no_seed_in_common():
    assert paired({0: 0.9}, {1: 0.9}) is None


def test_equal_differences_tell_nothing_of_the_noise():
    found = paired({0: 0.3, 1: 0.2}, {0: 0.2, 1: 0.1})  # equal but for the rounding of floats
    assert found.text(ACCURACY) == "+10.00 points (n = 2 seeds: noise unknown, differences are equal)"
    assert paired({0: 0.5, 1: 0.75}, {0: 0.5, 1: 0.75}).interval is None


def test_differences_are_in_the_metrics_own_terms():
    assert difference(ACCURACY, -0.0123) == "-1.23 points"
    assert difference(Metric("rmse", "RMSE", larger_is_better=False, percent=False), 1.234) == "+1.23"
