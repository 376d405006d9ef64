"""docs/search.md shows the committed measurements."""

import csv
import json
from pathlib import Path
from statistics import fmean

from transfer.report import tables

ROOT = Path(__file__).parents[2]
COLUMNS = ("method", "epoch 1", "epoch 2", "epoch 8", "trained fully")
NAMES = ("epochs", "sparsity", "per_class", "allocation", "options", "error", "rounds")
ONE_SHOT = ("random", "magnitude", "snip", "grasp", "jacobian", "fisher", "fts", "hutchinson", "hts")


def full() -> dict[str, list[float]]:
    """Return the accuracies of the grid's runs, one per seed, by method: as the search prunes, but with all images."""
    found: dict[str, list[float]] = {}
    with open(ROOT / "benchmarks/methods-digits.csv") as file:
        for row in csv.DictReader(file):
            rounds = "1" if row["method"] in ONE_SHOT else "20"
            plain = ("8", "0.982", "10", "global", "", "", rounds)
            if tuple(row[name] for name in NAMES) == plain and row["statistics"] in ("", "batch"):
                found.setdefault(row["method"], []).append(float(row["accuracy"]))
    return found


def table() -> str:
    """Return the page's table; in brackets how many seeds a mean is of."""
    measured, trials = full(), json.loads((ROOT / "benchmarks/search-digits.json").read_text())["trials"]
    return tables.markdown(COLUMNS, [_row(each["method"], each["values"], measured) for each in trials])


def _row(method: str, values: list[float], measured: dict[str, list[float]]) -> tuple[str, ...]:
    shown = [f"{100 * values[epoch - 1]:.1f}" if len(values) >= epoch else "" for epoch in (1, 2, 8)]
    own = measured.get(method, [])
    return method, *shown, f"{100 * fmean(own):.1f} ({len(own)})" if own else ""


def agreement() -> str:
    """Return how well the order at epoch 2 agrees with that of the fully trained runs."""
    from scipy.stats import spearmanr

    measured, trials = full(), json.loads((ROOT / "benchmarks/search-digits.json").read_text())["trials"]
    early, late = zip(*((each["values"][1], fmean(measured[each["method"]])) for each in trials), strict=True)
    return f"rank correlation (Spearman) {spearmanr(early, late).statistic:.2f}"


def test_the_figures_are_those_of_the_files() -> None:
    page = (ROOT / "docs/search.md").read_text()
    assert table() in page
    assert agreement() in " ".join(page.split())
