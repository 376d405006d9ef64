"""Pictures hold the digest of their numbers: one of other numbers is named, and drawn again."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from scripts import pictures


def drawing(colour: str) -> Callable[[], pictures.Drawn]:
    return lambda: ([colour], lambda path: Image.new("RGB", (4, 4), colour).save(path))


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    monkeypatch.setattr(pictures, "PICTURES", {"one": drawing("red"), "two": drawing("blue")})
    return tmp_path / "docs"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["pictures", *words])
    with pytest.raises(SystemExit) as left:
        pictures.main()
    return left.value.code


def test_other_numbers_are_told_and_drawn(
    docs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--check") == 1
    assert not list(docs.iterdir())
    assert run(monkeypatch) == 0
    assert run(monkeypatch, "--check") == 0
    before = (docs / "two.png").read_bytes()
    capsys.readouterr()
    monkeypatch.setitem(pictures.PICTURES, "one", drawing("green"))
    assert run(monkeypatch, "--check") == 1
    assert capsys.readouterr().out == "docs/one.png shows other numbers than benchmarks/\n"
    assert run(monkeypatch, "one") == 0
    with Image.open(docs / "one.png") as image:
        assert image.getpixel((0, 0)) == (0, 128, 0)
    assert (docs / "two.png").read_bytes() == before


def test_a_picture_without_a_digest_is_drawn(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 4)).save(docs / "one.png")
    assert run(monkeypatch, "--check", "one") == 1


def test_an_unknown_name_is_refused(
    docs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "three") == 2
    assert capsys.readouterr().err == "there is no picture three; known: one, two\n"
