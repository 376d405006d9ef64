"""docs/payoff.md shows the committed measurements."""

from pathlib import Path

from scripts import bench_payoff

ROOT = Path(__file__).parents[2]


def test_the_tables_are_those_of_the_file() -> None:
    assert bench_payoff.table(ROOT / "benchmarks" / "payoff.jsonl") in (ROOT / "docs" / "payoff.md").read_text()
