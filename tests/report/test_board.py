"""What a comparison says while it runs: lines where nothing can be drawn anew, one line on a terminal."""

import pytest

from transfer.report.board import Board


def both(board: Board) -> None:
    with board:
        board.begin("dense, seed 0")
        board.begin("px 90.00%, seed 0")
        board.end("dense, seed 0")


def test_lines_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    both(Board(3, shown=True, live=True))
    assert capsys.readouterr() == ("[1/3] dense, seed 0\n[2/3] px 90.00%, seed 0\n", "")


def test_nothing_unless_shown(capsys: pytest.CaptureFixture[str]) -> None:
    both(Board(3, shown=False, live=True))
    assert capsys.readouterr() == ("", "")


def test_one_line_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    both(Board(3, shown=True, live=True))
    out, drawn = capsys.readouterr()
    assert out == ""
    assert "1/3" in drawn
    assert "px 90.00%, seed 0" in drawn
