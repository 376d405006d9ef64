"""Differences between two rows, paired over the seeds that both have, and whether they are within noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from transfer.tasks import Metric

CONFIDENCE = 0.95
ROUNDING = 1e-12  # relative: 0.3 - 0.2 and 0.2 - 0.1 are equal


@dataclass(frozen=True)
class Paired:
    """A mean difference over n seeds, and the t interval of that mean.

    None with one seed, with differences that are all equal (of which no spread can be estimated), or a value that is
    nan.
    """

    n: int
    mean: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """What the difference is worth."""
        if self.interval is None:
            unknown = "noise unknown" + (", differences are equal" if self.n > 1 else "")
            return unknown if math.isfinite(self.mean) else "not a number"
        low, high = self.interval
        return "within noise" if low <= 0 <= high else "beyond noise"

    def text(self, metric: Metric) -> str:
        """Return the difference with its interval and n."""
        seeds = f"n = {self.n} seed{'s' * (self.n != 1)}"
        if self.interval is None:
            return f"{difference(metric, self.mean)} ({seeds}: {self.verdict})"
        low, high = (difference(metric, each, unit=False) for each in self.interval)
        return f"{difference(metric, self.mean)} ({CONFIDENCE:.0%} interval {low} to {high}, {seeds}: {self.verdict})"


def paired(values: Mapping[int, float], other: Mapping[int, float]) -> Paired | None:
    """Return how far ``values`` lie above ``other``, over the seeds that both have; None if there are none.

    The interval is Student's t interval of the mean of the differences; that their spread is normal is assumed.
    """
    from scipy import stats

    found = np.array([values[seed] - other[seed] for seed in values if seed in other])
    if not len(found):
        return None
    mean, n = float(found.mean()), len(found)
    if n == 1 or not math.isfinite(mean) or np.ptp(found) <= ROUNDING * np.abs(found).max():
        return Paired(n, mean, None)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * found.std(ddof=1) / math.sqrt(n))
    return Paired(n, mean, (mean - half, mean + half))


def difference(metric: Metric, value: float, *, unit: bool = True) -> str:
    """Return a difference of two values of a metric with its sign: in percentage points, or in the metric's unit."""
    if metric.percent:
        return f"{100 * value:+.2f}" + (" points" if unit else "")
    return f"{value:+.3g}"
