"""A backbone that was pruned before: its zeros are held by ``keep``, and told when they would fill up."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import checkpoints
import transfer
from checkpoints import InputError
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs.backbone import prune_backbone
from transfer.runs.compare import cells
from transfer.runs.prepare import prepare


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pruned") / "pruned.safetensors"
    prune_backbone("embedded", Data(size=16), Prune(method="magnitude", sparsity=0.9), out=path)
    return path


def recipe(backbone: object, **pruning: object) -> Recipe:
    return Recipe(
        name="keep",
        backbone=str(backbone),
        data=Data(size=16),
        prune=Prune(**pruning),
        train=Train(epochs=1, batch=256, lr=0.1, weight_decay=0.1, precision="no"),
    )


def test_the_zeros_are_held_and_the_rest_is_trained(tmp_path: Path, pruned: Path) -> None:
    before = checkpoints.load(str(pruned)).state_dict
    result = transfer.run(recipe(pruned, method="keep"), out=tmp_path)
    after = load_file(result.folder / "model.safetensors")
    weights = [name for name, value in before.items() if value.dim() > 1]
    assert weights
    for name in weights:
        assert torch.equal(after[name] == 0, before[name] == 0)
    assert not torch.equal(after[weights[0]], before[weights[0]])
    assert "-keep-s0-" in result.folder.name
    assert result.metrics["sparsity"] == pytest.approx(
        sum(int((before[n] == 0).sum()) for n in weights) / result.metrics["total"]
    )
    assert (result.metrics["method"], result.metrics["pruning_set"]) == ("keep", None)


def test_zeros_that_would_fill_up_are_told(pruned: Path) -> None:
    with pytest.warns(
        UserWarning,
        match=r"weights of .*pruned.safetensors are 0 and will be trained like the others; --prune.method keep",
    ):
        prepare(recipe(pruned, sparsity=0.0))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            recipe("embedded", method="keep"),
            "prune.method is keep, but no weight of embedded is 0; give a backbone that was",
        ),
        (
            recipe("embedded", method="keep", allocation="erk"),
            "prune.allocation is set, but does nothing with prune.method",
        ),
        (recipe("embedded", method="keep", options=("a=1",)), "prune.options is set, but does nothing"),
        (recipe("embedded", method="keep", statistics="batch"), "prune.statistics is set, but does nothing"),
    ],
)
def test_what_cannot_be_kept_is_refused(asked: Recipe, told: str) -> None:
    with pytest.raises(InputError, match=told):
        prepare(asked)


def test_there_is_nothing_to_compare() -> None:
    with pytest.raises(InputError, match="keep removes nothing"):
        cells(recipe("embedded"), ["px", "keep"], [0.9], [0])
