"""The syntax of ways, the CSV with a torn line, going on where it stopped, and the table by hand."""

import dataclasses

import pytest

from checkpoints.errors import InputError
from scripts import accuracy_grid as script
from scripts.grid_cells import IDENTITY, PAIRS, Way, cells, way
from scripts.grid_csv import COLUMNS, Table
from scripts.grid_found import Found

TINY = ("--pairs", "digits", "--epochs", "1", "--size", "8", "--images", "100", "--test-images", "20")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("dense", Way("dense")),
        ("snip", Way("snip", "batch")),
        ("random", Way("random")),
        ("snip:running", Way("snip", "running")),
        ("px:warmup:20", Way("px", "warmup", rounds=20)),
        ("ntk-sap:batch:20+px", Way("ntk-sap", "batch", 20, "px")),
        ("px:running+erk,batch=32,per_class=5", Way("px", "running", allocation="erk", per_class=5, batch=32)),
        ("jacobian:batch,draws=4,schedule=linear", Way("jacobian", "batch", options=("draws=4", "schedule=linear"))),
    ],
)
def test_a_way_is_read_and_written(text, wanted):
    assert way(text) == wanted
    assert way(str(wanted)) == wanted


def test_one_way_has_one_name():
    assert str(way("px:running:100+global,per_class=10,batch=64")) == "px:running"
    assert str(way("snip:20:batch+px")) == "snip:batch:20+px"
    assert str(way("snip:1+px")) == "snip:batch:1+px"  # px would take 100 rounds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("snipp", "unknown method 'snipp'"),
        ("snip+erq", "unknown allocation 'erq'"),
        ("snip:moving", "'moving' is none of batch, warmup, running or the rounds"),
        ("snip:0", "'0' is none of"),
        ("snip:2:3", "each once"),
        ("random:batch", "random looks at no BatchNorm; leave batch out"),
        ("snip,per_class=0", "per_class is '0'; give 1 or more"),
        ("snip,draws", "give each option once, as name=value"),
        ("dense:20", "dense takes nothing more"),
    ],
)
def test_a_way_that_cannot_be_read_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        way(text)


def test_cells_of_the_first_seed_come_first_and_dense_is_done_once():
    pair = dataclasses.replace(PAIRS["digits"], sparsities=(0.5, 0.9))
    found = cells({"digits": pair}, [Way("dense"), Way("snip")], [0, 1])
    assert [(str(cell.way), cell.sparsity, cell.seed) for cell in found] == [
        (*start, seed) for seed in (0, 1) for start in (("dense", 0.0), ("snip", 0.5), ("snip", 0.9))
    ]
    assert set(found[1].identity()) == set(IDENTITY)


def test_a_torn_last_line_is_dropped(tmp_path):
    table = Table(tmp_path / "methods.csv")
    table.append({"way": "snip", "error": 'two\nlines, "quoted"'})
    whole = table.path.read_text()
    table.path.write_text(whole + "digits,embed")
    assert [row["way"] for row in table.rows()] == ["snip"]
    table.append({"way": "px"})
    assert [row["way"] for row in table.rows()] == ["snip", "px"]
    assert table.rows()[0]["error"] == 'two lines, "quoted"'
    assert table.path.read_text().startswith(whole)
    table.drop_errors()
    assert [row["way"] for row in table.rows()] == ["px"]


def test_a_torn_header_is_written_anew_and_other_columns_are_refused(tmp_path):
    table = Table(tmp_path / "methods.csv")
    table.path.write_text("pair,back")
    assert table.rows() == []
    table.append({"way": "px"})
    assert table.path.read_text().splitlines()[0] == ",".join(COLUMNS)
    table.path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="other columns"):
        table.rows()
    with pytest.raises(InputError, match="other columns"):
        table.append({"way": "px"})


def test_a_table_of_an_earlier_version_keeps_its_columns(tmp_path):
    table = Table(tmp_path / "methods.csv")
    table.path.write_text(",".join(name for name in COLUMNS if name != "cpu_seconds") + "\n")
    table.append({"way": "px", "cpu_seconds": "3"})
    assert [row["way"] for row in table.rows()] == ["px"]
    assert "cpu_seconds" not in table.rows()[0]


def test_the_grid_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    def grid(*more):
        script.main([*TINY, "--out", str(tmp_path), *more])
        return capsys.readouterr()

    grid("--ways", "dense", "snip", "snip,draws=2", "--sparsities", "0.5")
    rows = Table(tmp_path / "methods-digits.csv").rows()
    assert [row["way"] for row in rows] == ["dense", "snip:batch", "snip:batch,draws=2"]
    dense, snip, failed = rows
    assert dense["sparsity"] == "0"
    assert int(snip["kept"]) == -(-int(dense["kept"]) // 2)
    assert (snip["train_images"], snip["epochs"], snip["rounds"]) == ("100", "1", "1")
    assert 0 <= float(snip["accuracy"]) <= 1
    assert "no option 'draws'" in failed["error"]

    measured = []

    def fail(cell):
        measured.append(str(cell.way))
        raise InputError("not now")

    monkeypatch.setattr(script, "measure", fail)
    assert grid("--ways", "dense", "snip", "snip,draws=2", "--sparsities", "0.5").err == ""
    assert measured == []
    grid("--ways", "snip", "random", "px", "magnitude", "--sparsities", "0.5", "--shard", "2/2")
    assert measured == ["random", "magnitude"]
    grid("--ways", "snip,draws=2", "--sparsities", "0.5", "--retry")
    assert measured == ["random", "magnitude", "snip:batch,draws=2"]

    named = ("--ways", "dense", "snip", "snip,draws=2")
    table = grid(*named, "--sparsities", "0.5", "--table").out.splitlines()
    assert table[0] == "| way | digits | mean rank | worst shortfall |"
    assert table[2].startswith("| dense | ")
    assert table[3].startswith("| snip:batch | ")
    assert table[4].startswith("| snip:batch,draws=2 | error | 2.0 | ")
    assert grid("--sparsities", "0.5", "--candidates", "3").out == "snip:batch  # digits@0.5\n"
    with pytest.raises(SystemExit):
        script.main(["--pairs", "digits", "--out", str(tmp_path), "--table"])
    assert "holds no rows of digits at these sizes (3 rows of other sizes are left out)" in capsys.readouterr().err


FOUND = Found(
    {
        "a@0.9": {"dense": [0.95], "snip": [0.8, 0.9], "px": [0.9], "random": [0.5], "grasp": []},
        "b@0.9": {"dense": [0.75], "snip": [0.6], "px": [0.55], "random": [0.6]},
    }
)


def test_the_table_by_hand():
    assert FOUND.markdown().splitlines()[2:] == [
        "| dense | 95.00 | 75.00 |  |  |",
        "| snip | 85.00 ± 7.07 | 60.00 | 1.8 | 5.0 |",
        "| px | 90.00 | 55.00 | 2.0 | 5.0 |",
        "| random | 50.00 | 60.00 | 2.2 | 40.0 |",
        "| grasp | error |  | 4.0 | 90.0 |",
    ]
    assert FOUND.markdown().startswith("| way | a | b | mean rank | worst shortfall |")
    other = Found({"a@0.9": FOUND.columns["a@0.9"], "a@0.5": FOUND.columns["b@0.9"]})
    assert other.markdown().startswith("| way | a@0.9 | a@0.5 | mean rank |")
    assert FOUND.ranks()["b@0.9"] == {"snip": 1.5, "px": 3, "random": 1.5}


WAYS = ("dense", "px:batch:20+erk", "tried-mine:batch", "snip,correct=1")


def test_ways_of_another_script_or_of_few_columns_can_be_left_out():
    mixed = Found({"a@0.9": {name: [0.9] for name in WAYS}})
    assert list(mixed.complete().columns["a@0.9"]) == ["dense", "px:batch:20+erk"]
    assert "grasp" not in FOUND.complete().columns["a@0.9"]


def test_candidates_are_near_the_best_of_a_column():
    assert FOUND.candidates(3) == "px  # a@0.9\nsnip  # b@0.9\nrandom  # b@0.9\n"
    assert FOUND.candidates(6).splitlines()[0] == "px  # a@0.9 b@0.9"


def test_candidates_are_a_file_of_ways(tmp_path):
    (tmp_path / "near.txt").write_text(FOUND.candidates(6) + "\n# end\n")
    args = script.argparse.Namespace(ways=["px:running"], ways_file=tmp_path / "near.txt")
    assert [str(found) for found in script.read_ways(args)][0::2] == ["px:running", "snip:batch"]
