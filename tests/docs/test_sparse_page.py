"""The code of docs/sparse_format.md works as it stands, and its reader, which is not ours, reads what we write."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

import transfer
from tests.checkpoints.sparse_weights import assert_bits_equal, pruned

PAGE = (Path(__file__).parents[2] / "docs" / "sparse_format.md").read_text()
USE, READER = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_lines_for_users(tmp_path: Path) -> None:
    model = nn.Linear(100, 100)
    model.weight.data = pruned((100, 100), 0.9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    exec(compile(USE, "sparse_format.md", "exec"), {"model": model, "FILE": tmp_path / "w.safetensors"})
    assert (tmp_path / "w.safetensors").stat().st_size < 10_000
    assert_bits_equal(dict(model.state_dict()), before)


def test_the_reader_of_the_page_reads_every_form(tmp_path: Path) -> None:
    weights = {f"w{sparsity}": pruned((30, 20, 3, 3), sparsity) for sparsity in (0.0, 0.3, 0.6, 0.9, 0.99, 1.0)}
    weights |= {"half": pruned((64, 128), 0.9).half(), "wide": pruned((64, 128), 0.99).double()}
    weights |= {"count": torch.tensor(7), "many": pruned((9000,), 0.999).round().long(), "bias": torch.ones(5)}
    for dtype in (None, torch.float16):
        path = transfer.save_sparse(weights, tmp_path / "w.safetensors", dtype)
        scope: dict[str, Any] = {}
        exec(compile(READER, "sparse_format.md", "exec"), scope)
        found = {name: torch.from_numpy(value.copy()) for name, value in scope["read_sparse"](path).items()}
        assert_bits_equal(found, transfer.load_sparse(path))
