"""Tables between markers are written from what a command prints, checked, and refused without an end."""

import sys
from pathlib import Path

import pytest

from scripts import tables

PAGE = "Text.\n\n<!-- table: scripts/made.py -->\n\nold\n\n<!-- end of table -->\n\nMore.\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("docs", "scripts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "scripts" / "made.py").write_text("print('| new |')")
    (tmp_path / "README.md").write_text("No table.\n")
    (tmp_path / "docs" / "page.md").write_text(PAGE)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["tables", *words])
    with pytest.raises(SystemExit) as left:
        tables.main()
    return left.value.code


def test_a_table_is_checked_then_written(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = root / "docs" / "page.md"
    assert run(monkeypatch, "--check") == 1
    assert capsys.readouterr().out == "docs/page.md differs from benchmarks/\n"
    assert page.read_text() == PAGE
    assert run(monkeypatch) == 0
    assert page.read_text() == PAGE.replace("old", "| new |")
    assert run(monkeypatch, "--check") == 0


@pytest.mark.parametrize(
    "wrong", [PAGE.replace("<!-- end of table -->", ""), PAGE.replace("scripts/made.py", "rm -r docs")]
)
def test_a_marker_that_is_not_understood_is_refused(root: Path, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "docs" / "page.md").write_text(wrong)
    assert run(monkeypatch) == 2
    assert (root / "docs" / "page.md").read_text() == wrong


def test_a_script_that_fails_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "scripts" / "made.py").write_text("raise SystemExit(3)")
    assert run(monkeypatch) == "scripts/made.py failed with exit code 3"
    assert (root / "docs" / "page.md").read_text() == PAGE
