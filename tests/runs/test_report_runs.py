"""The page as its reader has it: whole, escaped, and drawn by a browser; and what the command says."""

import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from checkpoints import InputError
from tests.report.run_folders import RECIPE, write_run
from transfer import tasks
from transfer.recipe import Train
from transfer.runs.report_runs import report
from transfer.tasks import Metric
from transfer.tasks.classification import Classification

SPARSITIES, METHODS = (0.9, 0.98), ("px", "snip")
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        write_run(out, "dense", 0.0, seed, 0.95 + 0.01 * seed)
        for method in METHODS:
            for sparsity in SPARSITIES:
                write_run(out, method, sparsity, seed, 0.96 - (1 - sparsity) * seed - (0.1 if method == "snip" else 0))
    (out / "digits-sweep").mkdir()
    failed = [{"run": "gone", "error": f"{EVIL}\nout of memory"}]
    (out / "digits-sweep" / "sweep.json").write_text(json.dumps({"runs": [], "failed": failed}))
    return out


@pytest.fixture(scope="module")
def page(runs: Path) -> Path:
    return report([runs], out=runs.parent / "report").files[0]


class Reader(HTMLParser):
    """Counts elements, and notes attributes that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        named = {"src", "href", "srcset", "data", "action"}
        self.loads += [value or "" for name, value in attrs if name in named and not (value or "").startswith("#")]


def test_the_page_loads_nothing_and_is_light(page):
    found = Reader(page.read_text())
    assert found.loads == []
    assert "@import" not in page.read_text()
    assert "url(" not in page.read_text()
    assert page.stat().st_size < 200_000


def test_what_files_say_is_escaped(page):
    text = page.read_text()
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; out of memory" in text
    assert Reader(text).tags.count("script") == 1


def test_every_chart_has_its_lines(page):
    charts = re.findall(r"<figcaption>([^<]+)<.*?</figure>", page.read_text(), re.S)
    per_level = ["Density per layer", "Living units per layer", "Test accuracy by epoch", "Training loss by epoch"]
    assert charts == [
        "Accuracy against sparsity", "Accuracy against file size", "Accuracy against multiply-adds per image",
        *(f"{title}, {level} % removed" for level in (90, 98) for title in per_level),
    ]  # fmt: skip


def test_the_page_of_equal_runs_is_equal(runs, page, tmp_path):
    assert report([runs], out=tmp_path).files[0].read_bytes() == page.read_bytes()


def test_runs_of_another_protocol_are_apart(runs, tmp_path):
    other = write_run(tmp_path, recipe=dataclasses.replace(RECIPE, train=Train(epochs=3)))
    found = report([runs, other], out=tmp_path / "r")
    assert len(found.sections) == 2
    text = found.files[0].read_text()
    assert "2 sections, because runs that differ in task, data, protocol" in text
    assert "Not averaged with section 1: train.epochs 2 there, 3 here" in text


def test_a_run_under_two_folders_counts_once(runs, tmp_path):
    first = min(path for path in runs.iterdir() if "px" in path.name)
    shutil.copytree(first, tmp_path / "again" / "renamed")
    found = report([runs, tmp_path / "again"], out=tmp_path / "r")
    (fault,) = (fault for fault in found.faults if fault.kind == "twice")
    assert fault.what == f"the same run as {first}; left out"
    assert sum(len(section.records) for section in found.sections) == 10


def test_a_task_of_ones_own(tmp_path, monkeypatch):
    class Angles(Classification):
        name = "angles"
        headline = Metric("rmse", "RMSE (degrees)", larger_is_better=False, percent=False)

    monkeypatch.setitem(tasks._TASKS, "angles", Angles)
    for method, sparsity, rmse in (("dense", 0.0, 3.0), ("px", 0.9, 3.5), ("snip", 0.9, 9.0)):
        write_run(tmp_path, method, sparsity, result={"task": "angles", "rmse": rmse, "headline": "rmse"})
    found = report([tmp_path], out=tmp_path / "r", within=0.5)
    assert "within 0.5 RMSE (degrees) of dense: px at 90.00%" in found.lines(found.sections[0])[0]
    assert "RMSE (degrees) against sparsity" in found.files[0].read_text()


def test_the_command(runs, tmp_path, command):
    code, out, err = command("report", str(runs), "--out", str(tmp_path / "r"), "--within", "2")
    assert (code, err) == (0, "")
    assert "failed: gone: <script>alert(1)</script> out of memory" in out
    assert "The smallest file within 2 percentage points of dense: px at 98.00% sparsity" in out
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"report.html", "report.csv", "report.tex"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--within", "-1", "RUNS"], "--within is -1.0; give 0 or more"),
        (["--within", "nan", "RUNS"], "--within is nan; give 0 or more"),
        (["RUNS", "--out", "FILE"], "is a file; give another folder"),
        (["RUNS", "--out", "RUN"], "is the folder of a run; give another folder"),
        (["nowhere"], "nowhere is not there, or cannot be reached; give run folders"),
    ],
)
def test_a_mistake_is_one_line(runs, tmp_path, command, words, says):
    (tmp_path / "file").write_text("")
    run = next(path for path in runs.iterdir() if "px" in path.name)
    places = {"RUNS": runs, "FILE": tmp_path / "file", "RUN": run}
    code, out, err = command("report", *(str(places.get(word, word)) for word in words))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_no_folder_is_a_mistake():
    with pytest.raises(InputError, match="say which runs"):
        report([])


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHECK = """
addEventListener("error", (event) => { document.documentElement.dataset.error = event.message; });
addEventListener("load", () => {
  const shown = (what) => [...document.querySelectorAll(what)].filter((each) => each.getClientRects().length);
  const root = document.documentElement.dataset;
  root.charts = shown("figure svg").length;
  const section = document.querySelector("section.runs");
  section.querySelector(".levels button").click();
  root.level = shown("figure[data-level]").map((each) => each.dataset.level).join(" ");
  root.lines = shown(".line[data-name=snip] .stroke").length;
  section.querySelector(".keys button[data-name=snip]").click();
  root.left = shown(".line[data-name=snip] .stroke").length;
  const hit = section.querySelector(".hits rect");
  hit.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: 50, clientY: 50}));
  root.tip = document.getElementById("tip").textContent;
  root.wide = document.documentElement.scrollWidth > window.innerWidth;
});
"""


@pytest.mark.slow
def test_a_browser_draws_it(page, tmp_path):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    checked = tmp_path / "page.html"
    checked.write_text(page.read_text().replace("<script>", f"<script>{CHECK}</script><script>", 1))
    dom = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=500,900", "--virtual-time-budget=3000", "--dump-dom", checked.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    root = dict(re.findall(r'data-(\w+)="([^"]*)"', re.search(r"<html[^>]*>", dom)[0]))
    assert "error" not in root
    assert root["charts"] == "7"  # three of all sparsities, four of the highest
    assert root["level"] == " ".join(["0.9"] * 4)
    assert (root["lines"], root["left"]) == ("7", "0")
    assert root["tip"].startswith("90 % removed")
    assert "snip" not in root["tip"]
    assert root["wide"] == "false"
    assert re.findall(r'<table (?:id|class)="(\w+)"', dom) == ["faults", "matrix", "rows", "settings", "noise"]
