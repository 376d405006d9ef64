"""A run killed at random moments ends as if nothing had been: the short form of scripts/kill_test.py."""

from pathlib import Path

import pytest

from scripts import kill_test
from tests import processes


@pytest.mark.parametrize(("method", "kills"), [("px", 1), pytest.param("gmp", 2, marks=pytest.mark.slow)])
def test_kills_change_nothing(method: str, kills: int, tmp_path: Path) -> None:
    processes.ready()  # which the script's starts are forked from, too
    found = kill_test.test(kills, 1, method, 1, tmp_path)
    assert found["kills"] == kills
    assert [found[key] for key in ("different", "left_over", "missing", "failures")] == [[], [], [], []]
    assert found["finished"] >= 1
    assert {"masks.safetensors", "model.safetensors", "metrics.jsonl", "result.json"} <= set(found["compared"])
