"""The figures in the sentences of README and docs are those of benchmarks/, or of a table on the same page."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import grid_found
import measured_table
import pytest
from command_tables import HEADS

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
NUMBER = r"\d[\d,]*(?:\.\d+)?"
MEASURED = re.compile(rf"(?<![\w.,-])(?:\d[\d,]*\.\d+|{NUMBER}(?= (?:%|points|times|ms|s|MB|GB)\b| %))(?![\w-])")
PASSED_OVER = re.compile(  # code, comments, addresses, versions, identifiers of papers and licences
    r"```.*?```|<!--.*?-->|`[^`\n]*`|\]\([^)]*\)|^\|.*?$"
    r"|\b(?:torch|numba|accelerate|Python|Torch-Pruning's dependency graph|CC-BY-NC|v)[ :(-]*\d[\d.]*"
    r"|arXiv[: ]\d[\dv.]*",
    re.S | re.M,
)
SETTINGS = {
    "0", "90", "95.6", "98.2", "99", "99.5", "93.12", "100",  # sparsities; the dense sum
    "95",  # per cent of an interval
    "0.28",  # points of one of 360 images
}  # fmt: skip
SETTINGS_OF = {
    "docs/figures.md": {"0.01"},  # a learning rate
    "docs/inference.md": {"1.2"},  # from how many times as fast on a form is advised
    "docs/results.md": {"19"},  # trainings of imp
    "docs/report.md": {"12.7"},  # Student's t of two pairs
    "docs/sparse_format.md": {"1024"},  # how many times the file a tensor may take
}


def json_of(name: str) -> Any:
    return json.loads((BENCHMARKS / name).read_text())


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (BENCHMARKS / name).read_text().splitlines() if line]


def percent(values: Sequence[float], digits: int = 1) -> str:
    """Return mean and standard deviation with these digits."""
    mean, _, spread = grid_found.spread(values).partition(" ± ")
    return f"{float(mean):.{digits}f} %" + (f" ± {float(spread):.{digits}f}" if spread else "")


def fully(method: str, statistics: str | None = None, rounds: int = 20) -> list[float]:
    """Return the accuracies on digits at 98.2 % of a method, one per seed."""
    return grid_found.accuracies(BENCHMARKS, 0.982)[grid_found.csv_name(method, statistics, rounds)]


def readme() -> Iterator[str]:
    stored, batch = fmean(fully("px", "running")), fmean(fully("px"))
    yield f"With the stored statistics `px` falls to {100 * stored:.0f} % on digits; with those of the batch"
    yield f"among the best there, at {100 * batch:.0f} %"


def spectra() -> Iterator[str]:
    """Yield the sums of the three seeds' eigenvalues, in percent of dense."""
    shares: dict[str, list[float]] = {}
    for seed in range(3):
        rows = {row["network"]: row["trace"] for row in json_of(f"figures/spectrum-seed{seed}.json")["rows"]}
        for network, trace in rows.items():
            shares.setdefault(network, []).append(100 * trace / rows["dense"])
    told = {network: f"{min(found):.0f} to {max(found):.0f} %" for network, found in shares.items()}
    yield f"`snip` has more than the dense sum, {told['snip']} of it"
    yield f"`synflow` has {told['synflow']}, " + ", ".join(
        f"`{name}` {told[name]}" for name in ("random", "px", "magnitude")
    )


def rounds() -> Iterator[str]:
    rows = json_of("figures/rounds.json")["rows"]
    (hundred,) = (row["values"] for row in rows if row["method"] == "px" and row["rounds"] == 100)
    low, *high = sorted(hundred)
    assert {f"{100 * value:.0f}" for value in high} == {"96"}
    yield f"one seed of `px` ended at {100 * low:.1f} % and two at 96 %"
    odd = {
        row["rounds"] for row in rows if row["method"] == "ntk-trace" and row["rounds"] > 1 and min(row["values"]) < 0.9
    }
    assert odd == {5, 10}
    yield "`ntk-trace` has such a seed at 5 and at 10 rounds"


def search() -> Iterator[str]:
    from scipy.stats import spearmanr

    found = json_of("search-digits.json")
    whole = found["recipe"]["train"]["epochs"] * len(found["trials"])
    yield f"It spent {found['epochs_spent']} of {whole} epochs, {found['epochs_spent'] / whole:.0%}".replace("%", " %")
    yield f"`ntk-trace`, which reaches {percent(fully('ntk-trace'))}"
    yield f"`px` reaches {percent(fully('px'))} and `px-released` {percent(fully('px-released'))}"
    yield f"`synflow-l2-dist` reaches {percent(fully('synflow-l2-dist'))}"
    yield f"and `synflow-dist` {percent(fully('synflow-dist'))}"
    yield f"seed 0, gave {100 * json_of('search-best.json')['accuracy']:.1f} %"
    early = [trial["values"][1] for trial in found["trials"]]
    late = [fmean(fully(trial["method"])) for trial in found["trials"]]
    yield f"rank correlation (Spearman) {spearmanr(early, late).statistic:.2f}"
    with open(BENCHMARKS / "search-short.csv", newline="") as file:
        short = {row["method"]: 100 * float(row["epoch_2"]) for row in csv.DictReader(file)}
    best = short.pop("synflow-l2-dist")
    yield f"at {min(short.values()):.0f} to {max(short.values()):.0f} % and `synflow-l2-dist` at {best:.0f} %"


def threads() -> Iterator[str]:
    """Yield what a second thread brings to the dense ResNet-50, of the pairs of rows that differ in nothing else."""
    took = {
        (row["threads"], row["sparsity"]): row["ms"] for row in lines_of("inference.jsonl")
        if (row["arch"], row["way"], row["batch"], row["kind"]) == ("resnet50", "erk", 1, "dense")
    }  # fmt: skip
    ratios = [
        took[1, sparsity] / two for (count, sparsity), two in took.items() if count == 2 and (1, sparsity) in took
    ]
    assert len(ratios) == 2
    yield f"makes the dense network {min(ratios):.1f} to {max(ratios):.1f} times as fast"


def narrow_files() -> Iterator[str]:
    lines = lines_of("sparse_file.jsonl")
    size = {
        line["settings"]["dtype"]: f"{line['bytes'] / 1e6:.2f} MB" for line in lines if line["settings"].get("dtype")
    }
    yield f"With `dtype=torch.float16` a random mask at 98.20 % takes {size['float16']}"
    yield f"with `torch.bfloat16` {size['bfloat16']}"
    yield f"{lines[0]['dense_bytes'] / 1e6:.1f} MB as an ordinary .safetensors file"


def saving() -> Iterator[str]:
    found = measured_table.line("scaling-cpu", measurement="save")
    yield f"the {found['state_mb']:.0f} MB state of a ResNet-50 takes {found['save_s']:.2f} s to save"
    share = f"{100 * found['share_of_epoch']:.1f} % of an epoch"
    yield f"{share} of 100 steps of {found['batch']} images of {found['size']} px"


def training() -> Iterator[str]:
    held = measured_table.line("training-cpu", loop="masked")
    yield f"{held['hold_ms']:.0f} ms for ResNet-50 on two threads of a CPU"
    yield f"{100 * held['hold_share']:.1f} % of a step of {held['batch']} images"
    yield f"takes {measured_table.line('training-cpu', name='epoch', loop='ours')['ratio']:.1f} times as long"
    yield f"({measured_table.line('training-cpu', loop='compiled')['ratio']:.2f} times as fast"


def probes() -> Iterator[str]:
    """Yield what the heads gain and lose, in points: the least and the most over heads and, where named, methods."""
    heads: dict[tuple[bool, str, str], list[list[float]]] = {}
    for path in sorted((BENCHMARKS / "probes").glob("*.json")):
        content = json.loads(path.read_text())
        for row in content["rows"]:
            key = row["seen"], content["settings"]["method"], row["backbone"]
            heads.setdefault(key, []).append([row[head] for head in HEADS])

    def means(seen: bool, method: str, backbone: str) -> list[float]:
        return [100 * fmean(column) for column in zip(*heads[seen, method, backbone], strict=True)]

    def changes(seen: bool, backbone: str, methods: Sequence[str]) -> list[float]:
        return [
            after - before
            for method in methods
            for after, before in zip(means(seen, method, backbone), means(seen, method, "dense"), strict=True)
        ]

    ours, own = ("ntk-trace", "px", "px-trace"), "pruned, own BatchNorm"
    gains = changes(True, "pruned", ours)
    yield f"heads for digits gain about {min(gains):.0f} to {max(gains):.0f} points"
    lost, most = [-x for x in changes(True, own, (*ours, "magnitude"))], [-x for x in changes(True, own, ("random",))]
    yield f"with their own they lose {min(lost):.0f} to {max(lost):.0f} points, `random` {max(most):.0f}"
    lost = [-x for of in ("pruned", own) for x in changes(False, of, (*ours, "magnitude"))]
    most = [-x for of in ("pruned", own) for x in changes(False, of, ("random",))]
    yield f"heads for Fashion-MNIST lose {min(lost):.0f} to {max(lost):.0f} points, at `random` up to {max(most):.0f}"
    least = means(False, "magnitude", own)
    behind = [a - b for method in ours for a, b in zip(least, means(False, method, own), strict=True)]
    yield f"keeps most of the source task, {fmean(least):.0f} %"
    yield f"digits {min(behind):.0f} to {max(behind):.0f} points less"
    tuned = [means(False, method, "pruned and fine-tuned") for method in (*ours, "magnitude", "random")]
    spread = max(max(column) - min(column) for column in zip(*tuned, strict=True))
    yield f"are within {math.ceil(spread)} points"


def ways() -> Iterator[str]:
    px_released, ours = fmean(fully("px-released")), fmean(fully("ntk-trace"))
    yield f"better by {100 * (px_released - ours):.1f} points on digits"
    ahead = [100 * (fmean(fully(method)) - ours) for method in ("px", "synflow-l2")]
    yield f"is {ahead[0]:.1f} points behind `px` and {ahead[1]:.1f} behind `synflow-l2`"


SENTENCES: list[tuple[str, Callable[[], Iterator[str]]]] = [
    ("README.md", readme),
    ("docs/figures.md", spectra),
    ("docs/figures.md", rounds),
    ("docs/search.md", search),
    ("docs/inference.md", threads),
    ("docs/sparse_format.md", narrow_files),
    ("docs/reliability.md", saving),
    ("docs/payoff.md", training),
    ("docs/probe.md", probes),
    ("docs/methods.md", ways),
]


@pytest.mark.parametrize(("page", "sentences"), SENTENCES)
def test_a_sentence_says_what_was_measured(page: str, sentences: Callable[[], Iterator[str]]) -> None:
    words = " ".join((ROOT / page).read_text().split())
    assert [each for each in sentences() if each not in words] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_is_in_a_table_of_its_page_or_computed_above(page: str) -> None:
    text = (ROOT / page).read_text()
    told = [each for of, sentences in SENTENCES if of == page for each in sentences()]
    known = [number(found) for line in [*_table(text), *told] for found in re.findall(NUMBER, line)]
    prose = PASSED_OVER.sub(" ", text)
    settings = SETTINGS | SETTINGS_OF.get(page, set())
    assert [found for found in MEASURED.findall(prose) if found not in settings and not _shown(found, known)] == []


def _table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def number(text: str) -> float:
    return float(text.replace(",", ""))


def _shown(figure: str, known: Sequence[float]) -> bool:
    """Return whether a figure is one of the known ones, rounded."""
    digits = len(figure.partition(".")[2])
    return any(f"{value:.{digits}f}" == figure.replace(",", "") for value in known)
