"""Three processes, each with a disk of its own: stopped and started again, they come to the bits of an undisturbed run.

Two would not show that the order of a sum is the same after a start: a + b is b + a.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.training.apart import main

pytestmark = pytest.mark.slow  # two processes are in test_two_processes.py


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    def make(folder: Path) -> None:
        processes.run(main, folder, world=3, folder=folder / "said")

    folder = processes.once(tmp_path_factory, "apart", make)
    found: list[dict[str, Any]] = json.loads((folder / "found.json").read_text())
    assert len(found) == 3
    return found


@pytest.mark.parametrize(("what", "expected"), [("trained", True), ("gmp", True), ("imp", True), ("ran", [True, True])])
def test_the_same_bits(what: str, expected: Any, apart: list[dict[str, Any]]) -> None:
    assert [found[what] for found in apart] == [expected] * 3


def test_only_the_main_process_writes(apart: list[dict[str, Any]]) -> None:
    assert [found["files"] > 0 for found in apart] == [True, False, False]


def test_what_the_main_process_alone_sees_is_an_error_on_all(apart: list[dict[str, Any]]) -> None:
    words = {found["refused"] for found in apart}
    assert len(words) == 1
    assert "was made by another recipe" in words.pop()
