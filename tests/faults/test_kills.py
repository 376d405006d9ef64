"""A run killed three times at random moments ends as if nothing had been: the short form of scripts/kill_test.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_three_kills_change_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "kill_test.py"), "--kills", "3", "--seed", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == 3
    assert [found[key] for key in ("different", "left_over", "missing", "failures")] == [[], [], [], []]
    assert found["finished"] >= 1
    assert {"masks.safetensors", "model.safetensors", "metrics.jsonl", "result.json"} <= set(found["compared"])
