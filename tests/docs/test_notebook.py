"""docs/notebook/start.ipynb runs from top to bottom without a warning (with smaller images and fewer epochs)."""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook" / "start.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.slow
def test_it_runs_and_says_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plt.switch_backend("Agg")
    names: dict[str, Any] = {}
    for cell in cells("code"):
        exec(compile(shorter("".join(cell["source"])), NOTEBOOK.name, "exec"), names)
    plt.close("all")
    printed = capsys.readouterr().out
    assert shape(printed) == shape("".join(told(cell) for cell in cells("code")))
    assert "True" in printed.splitlines()[-1]
    assert {masks.kept for masks in names["masks"].values()} == {4_876}
    assert (tmp_path / names["folder"].name / "sparse.safetensors").stat().st_size < 100_000


def test_its_outputs_come_from_one_run() -> None:
    assert [cell["execution_count"] for cell in cells("code")] == list(range(1, len(cells("code")) + 1))
    assert not [output for cell in cells("code") for output in cell["outputs"] if output.get("name") == "stderr"]


def test_its_links_lead_somewhere() -> None:
    links = [link for cell in cells("markdown") for link in re.findall(r"\]\(([^)]+)\)", "".join(cell["source"]))]
    assert links
    assert all((NOTEBOOK.parent / link).exists() for link in links)


def shorter(code: str) -> str:
    return code.replace("epochs=4", "epochs=1").replace("size=24", "size=12")


def told(cell: dict[str, Any]) -> str:
    """Return what a cell printed when it was stored."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output.get("name") == "stdout")


def shape(printed: str) -> list[str]:
    """Return the lines with every number and list of names left out, which vary between machines."""
    return [" ".join(re.sub(r"\d[\d,.]*", "N", line.partition("left:")[0]).split()) for line in printed.splitlines()]
