"""The charts of a section."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from transfer.report.chart import REFERENCE, Axis, Chart, Line, Point
from transfer.report.record import Record, flat, text
from transfer.report.rows import DENSE, Row
from transfer.report.sections import Section
from transfer.report.units import count, file_size

Styles = Mapping[str, int]
_OF_A_RUN = ("seed", "method", "sparsity", "pruning_set")  # settings of a spectrum in which compared runs may differ


def charts(section: Section, styles: Styles) -> list[Chart]:
    """Return the charts of a section that its runs have the numbers for; ``styles`` numbers the ways of pruning."""
    found = [_by_sparsity(section, styles)]
    found += [_against(section, styles, "file size", lambda row: row.file_bytes, file_size)]
    found += [_against(section, styles, "multiply-adds per image", lambda row: row.multiply_adds, count)]
    for level in section.levels:
        rows = [row for row in section.pruned if row.level == level]
        found += [_density(rows, styles), _living(rows, styles), *_curves(section, rows, styles)]
        found += _spectra(rows, styles)
    if not section.levels:
        found += _curves(section, [], styles)
    return [chart for chart in found if any(line.points for line in chart.lines if not line.level)]


def percent(fraction: float) -> str:
    """Return a sparsity in percent, with as many digits as it needs."""
    return f"{_digits(fraction)} %"


def _digits(fraction: float) -> str:
    return f"{100 * fraction:.10g}"


def _by_sparsity(section: Section, styles: Styles) -> Chart:
    """The papers' axis: sparsities at the logarithm of their densities, the densest at the left."""
    metric = section.headline
    lines = []
    for label in section.labels:
        rows = [row for row in section.pruned if row.label == label]
        lines.append(Line(label, styles[label], [_point(row, -math.log10(1 - row.level)) for row in rows]))
    ticks = [(-math.log10(1 - level), _digits(level)) for level in section.levels]
    axis = Axis("weights removed (%), by the log of the density", ticks=ticks, told=_sparsity)
    return Chart(f"{capital(metric.label)} against sparsity", axis, Axis(metric.axis), [*_dense(section), *lines],
                 note=_spread(section))  # fmt: skip


def _sparsity(place: float) -> str:
    return f"{percent(round(1 - 10**-place, 8))} removed"


def _against(
    section: Section, styles: Styles, what: str, of: Callable[[Row], float | None], told: Callable[[float | None], str]
) -> Chart:
    lines = []
    for label in section.labels:
        rows = [(row, of(row)) for row in section.pruned if row.label == label]
        known = sorted(((size, row) for row, size in rows if size), key=lambda each: each[0])
        points = [_point(row, size, f"{percent(row.level)}, ") for size, row in known]
        lines.append(Line(label, styles[label], points))
    dense = section.dense
    size = of(dense) if dense else None
    at = [Line(DENSE, REFERENCE, [_point(dense, size)])] if dense and size else []
    metric = section.headline
    x = Axis(f"{what} (log)", log=True, told=told, ticks=_decades(lines + at, told))
    return Chart(f"{capital(metric.label)} against {what}", x, Axis(metric.axis), [*_dense(section), *at, *lines])


def _decades(lines: Sequence[Line], told: Callable[[float | None], str]) -> list[tuple[float, str]]:
    """Return ticks at 1, 2 and 5 times powers of ten."""
    values = [point.x for line in lines for point in line.points]
    if not values:
        return []
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    steps = (1, 2, 5) if len(powers) < 5 else (1,)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return [(tick, told(tick)) for tick in ticks if min(values) / 1.3 <= tick <= max(values) * 1.3]


def _dense(section: Section) -> list[Line]:
    dense = section.dense
    return [] if dense is None else [Line(DENSE, REFERENCE, [_point(dense, 0.0)], level=True)]


def _point(row: Row, x: float, before: str = "") -> Point:
    metric = row.first.headline
    seeds = f"{len(row.runs)} seed{'s' * (len(row.runs) != 1)}"
    spread = row.std if row.std is not None and math.isfinite(row.std) else 0.0
    words = f"{before}{metric.text(row.mean, row.std)} ({seeds})"
    return Point(x, metric.plotted(row.mean), metric.plotted(spread), words)


def _spread(section: Section) -> str:
    several = any(len(row.runs) > 1 for row in section.rows)
    return "Bands: one standard deviation over seeds to each side." if several else "One seed: no spread is known."


def _density(rows: Sequence[Row], styles: Styles) -> Chart:
    return _per_layer(
        rows, styles, "Density per layer", Axis("kept fraction (log)", log=True),
        lambda layer: layer["density"], lambda value: f"{value:.2%}",
        note="A cross at the lower edge is an empty layer.",
    )  # fmt: skip


def _living(rows: Sequence[Row], styles: Styles) -> Chart:
    found = _per_layer(
        rows, styles, "Living units per layer", Axis("units with a kept weight"),
        lambda layer: layer["units"] - layer["dead_units"], lambda value: f"{value:g}",
        note="A unit of a convolution is one output kernel; it is dead when all its weights are "
        "pruned. Dashed: all units.",
    )  # fmt: skip
    units = next((layers for row in rows if (layers := row.layers(lambda layer: layer["units"]))), {})
    whole = [Point(place, value, words=f"{value:g}") for place, value in enumerate(units.values())]
    return Chart(found.title, found.x, found.y, [Line("all units", REFERENCE, whole), *found.lines], found.level,
                 found.note, marked=False)  # fmt: skip


def _per_layer(
    rows: Sequence[Row], styles: Styles, title: str, y: Axis, of: Callable[[Mapping[str, float]], float],
    told: Callable[[float], str], note: str,
) -> Chart:  # fmt: skip
    values = {row.label: row.layers(of) for row in rows}
    names = list(dict.fromkeys(name for layers in values.values() for name in layers))
    place = {name: at for at, name in enumerate(names)}
    lines = [
        Line(label, styles[label], [Point(place[name], value, words=told(value)) for name, value in layers.items()])
        for label, layers in values.items()
    ]
    ticks = [(float(at), name) for name, at in place.items()]
    x = Axis("layer", ticks=ticks, told=lambda at: names[round(at)], upright=True)
    return Chart(title, x, y, lines, rows[0].level, note, marked=len(names) <= 60)


def _curves(section: Section, rows: Sequence[Row], styles: Styles) -> list[Chart]:
    metric, dense = section.headline, [section.dense] if section.dense else []
    level = rows[0].level if rows else None
    told = {metric.name: (f"test {metric.label} by epoch", metric.axis)}
    told["train_loss"] = ("training loss by epoch", "training loss")
    found = []
    for name, (title, label) in told.items():
        scale = metric.plotted if name == metric.name else float
        lines = [_curve(row, name, REFERENCE if row.dense else styles[row.label], scale) for row in (*dense, *rows)]
        x = Axis("epoch", ticks=_epochs(lines), told=lambda epoch: f"epoch {epoch:g}")
        found.append(Chart(capital(title), x, Axis(label), lines, level))
    return found


def _epochs(lines: Sequence[Line]) -> list[tuple[float, str]]:
    """Return ticks at whole epochs, eight at most."""
    last = max((int(point.x) for line in lines for point in line.points), default=0)
    step = max(1, math.ceil(last / 8))
    return [(epoch, str(epoch)) for epoch in range(step, last + 1, step)]


def _curve(row: Row, name: str, style: int, scale: Callable[[float], float]) -> Line:
    points = [
        Point(epoch, scale(mean), scale(std) if std is not None and math.isfinite(std) else 0.0)
        for epoch, mean, std in row.curve(name)
    ]
    return Line(row.label, style, points)


def _spectra(rows: Sequence[Row], styles: Styles) -> list[Chart]:
    """Eigenvalues by rank, a chart for each way of computing them: those of other images or numbers do not compare."""
    groups: dict[tuple[tuple[str, str], ...], dict[str, Record]] = {}
    for row in rows:
        for run in row.runs.values():
            if run.spectrum:
                groups.setdefault(_computed(run), {}).setdefault(row.label, run)
    common = set.intersection(*map(set, groups)) if groups else set()
    return [
        _spectrum(runs, styles, [f"{name} {value}" for name, value in how if (name, value) not in common])
        for how, runs in groups.items()
    ]


def _computed(run: Record) -> tuple[tuple[str, str], ...]:
    """Return what eigenvalues depend on besides the seed and the pruning, as text by name."""
    settings = flat(run.spectrum_settings)
    found = {name: text(value) for name, value in settings.items() if name not in _OF_A_RUN}
    return (*found.items(), ("eigenvalues", str(len((run.spectrum or {}).get("dense", ())))))


def _spectrum(runs: Mapping[str, Record], styles: Styles, how: Sequence[str]) -> Chart:
    """Eigenvalues of the lowest seed of each label that has them, and of the dense network of the first of these."""
    first = next(iter(runs.values()))
    found = {DENSE: (REFERENCE, first, "dense")} | {name: (styles[name], run, "pruned") for name, run in runs.items()}
    lines = [Line(name, style, _ranked((run.spectrum or {})[of])) for name, (style, run, of) in found.items()]
    seeds = {name: run.seed for name, (_, run, _) in found.items()}
    same = len(set(seeds.values())) == 1
    told = f"Seed {first.seed}." if same else f"Seeds: {', '.join(f'{name} {seed}' for name, seed in seeds.items())}."
    note = " ".join([told, *([f"Computed with {', '.join(how)}."] if how else [])])
    x = Axis("rank (log)", log=True, told=lambda rank: f"eigenvalue {rank:g}")
    return Chart("Eigenvalues of the neural tangent kernel", x, Axis("eigenvalue (log)", log=True), lines,
                 first.level, note, marked=False)  # fmt: skip


def _ranked(values: Sequence[float]) -> list[Point]:
    return [Point(rank, value) for rank, value in enumerate(sorted(values, reverse=True), 1)]


def capital(words: str) -> str:
    """Return the words with the first letter large."""
    return words[:1].upper() + words[1:]
