"""Charts put values where they belong, and mark what has no place."""

import dataclasses
import math
import re
from itertools import pairwise

import pytest

from tests.report.records import record
from transfer.report.chart import CROSS, Axis, Chart, Line, Point, drawn
from transfer.report.figures import charts
from transfer.report.sections import split


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def line_of(values, log=False, **spread):
    points = [Point(x, y, **spread) for x, y in enumerate(values, 1)]
    found = drawn(Chart("t", Axis("x"), Axis("y", log=log), [Line("a", 0, points)]))
    return found, found.lines[0]


def test_a_linear_axis_is_linear():
    found, line = line_of([0.0, 0.5, 1.0])
    (x0, y0), (x1, y1), (x2, y2) = places(line["path"])
    assert (x1 - x0, y0 - y1) == pytest.approx((x2 - x1, y1 - y2), abs=0.11)
    assert found.top < y2 < y0 < found.bottom


def test_a_log_axis_spaces_equal_ratios_equally():
    _, line = line_of([0.01, 0.1, 1.0], log=True)
    (_, a), (_, b), (_, c) = places(line["path"])
    assert a - b == pytest.approx(b - c, abs=0.11)


def test_thousands_are_written_out():
    found, _ = line_of([0.0, 600.0, 1200.0])
    assert [words for _, words in found.y_ticks] == ["0", "300", "600", "900", "1,200"]
    found, _ = line_of([1.0, 1e6], log=True)
    assert {words for _, words in found.y_ticks} >= {"1", "100", "10,000", "1e+06"}


@pytest.mark.parametrize(("value", "log"), [(math.nan, False), (0.0, True), (math.inf, False)])
def test_what_has_no_place_is_a_cross_and_breaks_the_line(value, log):
    _, line = line_of([1.0, value, 2.0], log=log)
    assert line["path"].count("M") == 2
    assert line["crosses"].count(CROSS) == 1


def test_nothing_but_nan_can_be_drawn():
    _, line = line_of([math.nan])
    assert (line["path"], line["crosses"].count(CROSS)) == ("", 1)


def test_the_band_reaches_one_spread_to_each_side():
    _, line = line_of([0.4, 0.6], spread=0.1)
    ys = sorted(y for _, y in places(line["band"]))
    (_, low), (_, high) = places(line["path"])
    assert (ys[0] + ys[2]) / 2 == pytest.approx(high, abs=0.11)
    assert (ys[1] + ys[3]) / 2 == pytest.approx(low, abs=0.11)


def test_a_band_that_leaves_a_log_axis_ends_at_its_edge():
    found, line = line_of([1.0, 2.0], log=True, spread=5.0)
    assert max(y for _, y in places(line["band"])) == found.bottom


def test_a_pointer_finds_all_lines_at_a_place():
    lines = [Line("a", 0, [Point(1, 2.0)]), Line("b", 1, [Point(1, 3.0), Point(2, 4.0)])]
    found = drawn(Chart("t", Axis("x", told=lambda x: f"at {x:g}"), Axis("y"), lines)).hits
    assert [hit["words"] for hit in found] == ["at 1\na: 2\nb: 3", "at 2\nb: 4"]
    assert found[0]["x"] + found[0]["width"] == pytest.approx(found[1]["x"], abs=0.11)


def test_sparsities_are_spaced_by_the_logarithm_of_density():
    levels = (0.0, 0.36, 0.5904, 0.738, 0.8322, 0.893, 0.9312, 0.956, 0.9717, 0.982)
    runs = [record("px" if level else "dense", level) for level in levels]
    (section,), _ = split(runs)
    first, *_ = charts(section, {"px": 0})
    found = drawn(first)
    xs = [at for at, _ in found.x_ticks]
    steps = [b - a for a, b in pairwise(xs)]
    assert max(steps) / min(steps) < 1.1  # each keeps 64 % of the one before
    assert [words for _, words in found.x_ticks][:2] == ["36", "59.04"]
    assert found.lines[0]["line"].level
    assert found.hits[0]["words"] == "36 % removed\npx: 90.00% (1 seed)\ndense: 90.00% (1 seed)"


def spectral(method: str = "px", seed: int = 0, /, **settings):
    values = {"dense": [1.0 + seed, 10.0], "pruned": [0.1, 0.5]}
    return dataclasses.replace(record(method, seed=seed), spectrum=values, spectrum_settings=settings)


def spectra(*runs) -> list[Chart]:
    (section,), _ = split(runs)
    found = charts(section, {label: place for place, label in enumerate(section.labels)})
    return [chart for chart in found if chart.title.startswith("Eigenvalues")]


def test_a_spectrum_is_drawn_where_there_is_one_largest_first():
    (found,) = spectra(record("dense", 0.0), record("snip"), record("px", seed=1), spectral())
    assert {line.name: [(p.x, p.y) for p in line.points] for line in found.lines} == {
        "dense": [(1, 10.0), (2, 1.0)], "px": [(1, 0.5), (2, 0.1)],
    }  # fmt: skip
    assert (found.level, found.note) == (0.9, "Seed 0.")


def test_spectra_of_other_seeds_are_named():
    (found,) = spectra(spectral(images=10), spectral("px", 1, images=10), spectral("snip", 1, images=10, seed=1))
    assert [line.name for line in found.lines] == ["dense", "px", "snip"]
    assert found.note == "Seeds: dense 0, px 0, snip 1."


def test_spectra_with_other_settings_are_charts_of_their_own():
    found = spectra(spectral(images=10, size=8), spectral("snip", images=20, size=8))
    assert [([line.name for line in chart.lines], chart.note) for chart in found] == [
        (["dense", "px"], "Seed 0. Computed with images 10."), (["dense", "snip"], "Seed 0. Computed with images 20."),
    ]  # fmt: skip


def test_a_sparsity_near_one_has_a_place():
    (section,), _ = split([record(sparsity=0.99999999), record("snip", 0.99)])
    found = drawn(charts(section, {"px": 0, "snip": 1})[0])
    assert [words for _, words in found.x_ticks] == ["99", "99.999999"]
