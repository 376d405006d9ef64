"""The code of docs/compact.md works as it stands."""

import re
from pathlib import Path

import pytest
import torch

import transfer
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs import predictor

PAGE = Path(__file__).parents[2] / "docs" / "compact.md"


@pytest.mark.slow
def test_a_run_becomes_a_file_that_needs_torch_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pruning = Prune(method="magnitude", sparsity=0.95, rounds=1)
    train = Train(epochs=0, precision="no")
    run = transfer.run(Recipe("page", data=Data(size=32), prune=pruning, train=train), out=tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    exec(compile(code, str(PAGE), "exec"), {"RUN": run.folder, "OUT": tmp_path / "model.pt2"})
    assert "total" in capsys.readouterr().out
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        wanted = predictor.load(run.folder).model(images)
        found = torch.export.load(tmp_path / "model.pt2").module()(images)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
