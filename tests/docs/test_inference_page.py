"""The code of docs/inference.md works as it stands."""

import re
from pathlib import Path

import pytest
import torch

import transfer
from transfer.recipe import Data, Prune, Recipe, Train

PAGE = Path(__file__).parents[2] / "docs" / "inference.md"


@pytest.mark.slow
def test_the_code_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pruning, train = Prune(method="magnitude", sparsity=0.95, rounds=1), Train(epochs=0, precision="no")
    run = transfer.run(Recipe("page", data=Data(size=32), prune=pruning, train=train), out=tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names = {"RUN": run.folder}
    exec(compile(code, str(PAGE), "exec"), names)
    assert "layer1.0.conv1" in capsys.readouterr().out
    with torch.inference_mode():
        torch.testing.assert_close(names["logits"], names["model"](names["images"]), rtol=1e-4, atol=1e-4)
