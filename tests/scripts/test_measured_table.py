"""The table of README names one line of benchmarks/ for each figure."""

import json

import pytest

from scripts import measured_table as script


@pytest.fixture
def home(tmp_path, monkeypatch):
    lines = [{"name": "a", "batch": 1}, {"name": "a", "batch": 2}, {"name": "b", "batch": 1}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(script, "HOME", tmp_path)


def test_one_line_is_found(home):
    assert script.line("x", name="a", batch=2) == {"name": "a", "batch": 2}


@pytest.mark.parametrize("wanted", [{"name": "a"}, {"name": "c"}])
def test_none_or_several_are_refused(home, wanted):
    with pytest.raises(ValueError, match="values to unpack"):
        script.line("x", **wanted)


def test_every_figure_of_the_table_is_there():
    rows = list(script.rows())
    assert len(rows) == len({what for what, _, _ in rows})
    assert all(version[0].isdigit() for *_, version in rows)


def test_the_version_has_no_build():
    assert script.version({"torch": "2.14.1+cpu"}) == script.version({"versions": {"torch": "2.14.1"}}) == "2.14.1"
