"""Columns of the accuracy grid by pair, sparsity and length of training, from a CSV made by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from scripts import grid_columns as script
from scripts.grid_cells import PAIRS, settings
from scripts.grid_csv import Table, csv_of

DIGITS = PAIRS["digits"]
LONGER = replace(DIGITS, train=replace(DIGITS.train, epochs=32))


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    table = Table(csv_of(tmp_path, "digits"))
    for pair, sparsity, way, accuracy in (
        (DIGITS, "0.982", "px:batch:20", 0.9), (DIGITS, "0.982", "px:batch:20", 0.92), (DIGITS, "0", "dense", 0.99),
        (DIGITS, "0.95", "px:batch:20", 0.97), (LONGER, "0.982", "px:batch:20", 0.98), (DIGITS, "0.982", "snip", None),
    ):  # fmt: skip
        failed = {"error": "no"} if accuracy is None else {"accuracy": accuracy}
        table.append({**settings("digits", pair), "sparsity": sparsity, "way": way, **failed})
    return tmp_path


def test_table(grid, capsys):
    columns = ["digits", "digits*4", "digits@0.95"]
    script.main(["--columns", *columns, "--ways", "dense", "px:batch:20", "snip", "--out", str(grid)])
    assert capsys.readouterr().out.splitlines() == [
        "| way | digits | digits ×4 | digits at 95 % |",
        "| --- | ---: | ---: | ---: |",
        "| `dense` | 99.00 |  | 99.00 |",
        "| `px:batch:20` | 91.00 ± 1.41 | 98.00 | 97.00 |",
        "| `snip` | error |  |  |",
    ]


@pytest.mark.parametrize(
    ("columns", "ways", "said"),
    [
        (["digit"], ["dense"], "'digit' is not PAIR"),
        (["digits@95"], ["dense"], "PAIR one of digits, lite0, scratch"),
        (["digits"], ["dense", "px:bach"], "no row of px:bach in these columns"),
        (["lite0"], ["dense"], "holds no rows of lite0"),
    ],
)
def test_what_is_not_there_is_refused(grid, columns, ways, said, capsys):
    with pytest.raises(SystemExit) as left:
        script.main(["--columns", *columns, "--ways", *ways, "--out", str(grid)])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
