"""The tables for spreadsheets and papers."""

import csv
import io
import math
import re

from tests.report.records import record
from transfer.report.files import as_csv, as_latex, tex
from transfer.report.sections import split
from transfer.report.tables import csv_text

RUNS = [
    *(record("dense", 0.0, seed, value) for seed, value in enumerate((0.95, 0.97))),
    *(record("px", 0.9, seed, value, size=500) for seed, value in enumerate((0.9, 0.94))),
    record("px", 0.99, 0, math.nan), record("snip_&", 0.9, 0, 0.8),
]  # fmt: skip
SECTIONS, _ = split([*RUNS, record(value=0.5, precision="bf16")])


def test_a_line_per_row_with_every_digit():
    rows = list(csv.DictReader(io.StringIO(as_csv(SECTIONS))))
    assert [(row["section"], row["method"], row["sparsity_asked"], row["n"]) for row in rows] == [
        ("1", "dense", "0.0", "2"), ("1", "px", "0.9", "2"), ("1", "px", "0.99", "1"), ("1", "snip_&", "0.9", "1"),
        ("2", "px", "0.9", "1"),
    ]  # fmt: skip
    px = rows[1]
    assert [float(value) for value in px["values"].split()] == [0.9, 0.94]
    assert math.isclose(float(px["minus_dense"]), -0.04)
    assert float(px["low"]) < -0.04 < float(px["high"])
    assert (px["label"], px["prune.rounds"], px["prune.ablate"]) == ("px", "100", "")
    assert (px["file_bytes"], rows[2]["mean"], rows[2]["std"], rows[3]["low"]) == ("500.0", "nan", "", "")


def test_a_booktabs_table_per_section():
    found = as_latex(SECTIONS)
    assert found.count(r"\begin{tabular}") == found.count(r"\end{tabular}") == found.count(r"\toprule") == 2
    assert r"dense & \multicolumn{2}{c}{$96.00 \pm 1.41$} \\" in found
    assert r"px & $\mathbf{92.00} \pm 2.83$ & $\mathrm{nan}$ \\" in found
    assert r"snip\_\& & $80.00$ & -- \\" in found
    columns = re.search(r"\\begin{tabular}{l(r+)}", found)[1]
    rows = re.search(r"\\midrule\n(.*?)\\bottomrule", found, re.S)[1].strip().split("\n")
    assert all(len(re.split(r"(?<!\\)&", row)) == 1 + len(columns) for row in rows[1:])
    assert found.count("{") == found.count("}")


def test_a_text_is_no_formula_in_a_spreadsheet():
    texts = ["=1+1", "+1-cmd", "-x", "@sum", "\tx", "a=1", "-0.5 -1e-05", "-inf nan", "", None, -0.5]
    rows = csv.reader(io.StringIO(csv_text([dict.fromkeys("ab", text) for text in texts])))
    assert [row[0] for row in rows][1:] == [
        "'=1+1", "'+1-cmd", "'-x", "'@sum", "'\tx", "a=1", "-0.5 -1e-05", "-inf nan", "", "", "-0.5",
    ]  # fmt: skip


def test_infinity_is_not_nan_in_a_table():
    sections, _ = split([record(value=math.inf), record("snip", value=-math.inf), record("random", value=math.nan)])
    cells = [re.search(rf"{method} & \$(.*)\$", as_latex(sections))[1] for method in ("px", "snip", "random")]
    assert cells == [r"\infty", r"-\infty", r"\mathrm{nan}"]


def test_latex_characters_are_escaped():
    assert tex(r'50% of a_b & {c} \d ~^#$ <">|') == (
        r"50\% of a\_b \& \{c\} \textbackslash{}d \textasciitilde{}\textasciicircum{}\#\$ "
        r"\textless{}\char34{}\textgreater{}\textbar{}"
    )
