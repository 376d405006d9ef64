"""The bench of the sparse file on a small network: what a line says, and what is refused."""

import json
import sys
from pathlib import Path

import pytest

from scripts import bench_sparse_file as script

TINY = ["bench", "--arch", "test_resnet", "--turns", "1"]


def test_a_line_per_mask_and_sparsity(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [*TINY, "--sparsities", "0", "0.9", "--dtype", "float16"])
    script.main()
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    named = [(row["mask"], row["sparsity"]) for row in rows]
    assert named == [(mask, sparsity) for mask in ("random", "magnitude") for sparsity in (0, 0.9)]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["bytes"] / row["bound"], abs=1e-3)
        assert 0.9 < row["ratio"] < 1.25  # the header counts in a small file
        assert row["bytes"] < row["dense_bytes"] * (0.55 if row["sparsity"] == 0 else 0.1)
        assert min(row["load_s"], row["dense_load_s"]) > 0


def test_the_table_by_hand(tmp_path: Path) -> None:
    line = {"mask": "random", "sparsity": 0.9, "bytes": 12_345_678, "ratio": 1.02345, "load_ratio": 1.96}
    rows = [{**line, "settings": {"dtype": dtype}} for dtype in ("float32", "float16")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert script.table(tmp_path / "rows.jsonl").splitlines()[2:] == ["| 90.00% | 12.35 MB | 1.023 | 2.0 |  |  |  |"]


@pytest.mark.parametrize(("share", "bits"), [(0, 0), (1, 0), (0.5, 1), (0.11, 0.499916)])
def test_the_entropy(share: float, bits: float) -> None:
    assert script.entropy(share) == pytest.approx(bits, abs=1e-5)


@pytest.mark.parametrize("wrong", [["--turns", "0"], ["--sparsities", "1"], ["--sparsities", "-0.1"]])
def test_what_cannot_be_measured_is_refused(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*TINY, *wrong])
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert "--turns is 1 or more" in capsys.readouterr().err
