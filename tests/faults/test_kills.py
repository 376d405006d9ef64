"""A run killed three times at random moments ends as if nothing had been: the short form of scripts/kill_test.py."""

from pathlib import Path

from scripts import kill_test
from tests import processes


def test_three_kills_change_nothing(tmp_path: Path) -> None:
    processes.ready()  # which the script's starts are forked from, too
    found = kill_test.test(3, 1, "px", 1, tmp_path)
    assert found["kills"] == 3
    assert [found[key] for key in ("different", "left_over", "missing", "failures")] == [[], [], [], []]
    assert found["finished"] >= 1
    assert {"masks.safetensors", "model.safetensors", "metrics.jsonl", "result.json"} <= set(found["compared"])
