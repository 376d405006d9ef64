"""Patterns of kept weights through recipes: what is recorded, compared and refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

import transfer
from checkpoints.errors import InputError
from transfer import terminal
from transfer.pruning import Masks
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.report.advice import advice
from transfer.runs.backbone import prune_backbone
from transfer.runs.compare import cells, compare
from transfer.runs.folder import RunFolder
from transfer.runs.prepare import dry_run
from transfer.tasks.classification import Classification

pytestmark = pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning")
RECIPE = Recipe(
    name="tiny",
    data=Data(name="digits", size=8),
    prune=Prune(method="snip", sparsity=0.6, rounds=2, per_class=2, pattern="2:4", exclude=("conv1",)),
    train=Train(epochs=1, batch=128, lr=0.05, precision="no"),
)
WEIGHTS = 270_896 - 16 * 3 * 9


def pruned(**changes: Any) -> Recipe:
    return replace(RECIPE, prune=replace(RECIPE.prune, **changes))


def most_of_four(weight: Tensor) -> int:
    kept = weight != 0
    return int(kept.view(kept.shape[0], kept.shape[1] // 4, 4, -1).sum(2).max())


def test_a_run_has_the_pattern_after_training_and_records_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    result = transfer.run(RECIPE, out=tmp_path)
    assert result.metrics["pattern"] == "2:4"
    assert result.metrics["kept"] == WEIGHTS - int(0.6 * WEIGHTS + 0.5)
    weights, masks = load_file(result.folder / "model.safetensors"), Masks.load(result.folder / "masks.safetensors")
    assert "conv1.weight" not in masks
    assert all(most_of_four(weights[name]) <= 2 for name in masks)
    terminal.show_result(result)
    assert "2 rounds, statistics batch, pattern 2:4" in " ".join(capsys.readouterr().out.split())
    setup, absent = dry_run(RECIPE)
    assert "snip to 60.0000% in 2 rounds, statistics batch, pattern 2:4\n" in terminal.plan(setup, absent, tmp_path)
    assert Recipe.from_dict(RECIPE.to_dict()) == RECIPE


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 2])
def test_imp_has_the_pattern(rounds: int, tmp_path: Path) -> None:
    recipe = pruned(method="imp", sparsity=0.5, rounds=rounds)
    result = transfer.run(recipe, out=tmp_path)
    masks = [Masks.load(path) for path in sorted(result.folder.rglob("masks.safetensors"), key=lambda p: len(p.parts))]
    assert result.metrics["kept"] * 2 == WEIGHTS
    assert all(most_of_four(mask) == 2 for mask in masks[0].values())
    assert len(masks) == rounds + 1


def test_runs_without_a_pattern_keep_the_names_that_earlier_versions_gave(tmp_path: Path) -> None:
    plain, content = pruned(pattern="none"), pruned(pattern="none").to_dict()
    assert "pattern" not in plain.decisive()["prune"]
    assert RECIPE.decisive()["prune"]["pattern"] == "2:4"
    del content["prune"]["pattern"]  # as in a recipe.json of before
    assert Recipe.from_dict(content) == plain
    folders = []
    for recipe in (plain, RECIPE, pruned(pattern="1x4")):
        setup, _ = dry_run(recipe)
        folders.append(RunFolder(tmp_path, setup.recipe, setup.origin).path)
    assert len(set(folders)) == 3


def test_a_comparison_tells_the_pattern(tmp_path: Path) -> None:
    recipe = replace(RECIPE, train=replace(RECIPE.train, epochs=0))
    found = compare(recipe, methods=["magnitude", "snip"], sparsities=[0.5], seeds=[0], out=tmp_path)
    assert [line[0] for line in found.lines] == ["dense", "magnitude 2:4", "snip 2:4"]
    assert "snip 2:4" in (found.folder / "comparison.md").read_text()
    for result in found.results[1:]:
        assert all(most_of_four(mask) == 2 for mask in Masks.load(result.folder / "masks.safetensors").values())
    with pytest.raises(InputError, match=r"sparsity is 0\.4; pattern 2:4"):
        cells(RECIPE, ["snip"], [0.4, 0.9], [0])


def test_the_advice_has_the_pattern_and_what_it_needs_excluded() -> None:
    rows = [{"method": m, "sparsity": s, "mean": 0.5} for m, s in (("dense", 0.0), ("snip", 0.6))]
    found = advice(rows, Classification, [replace(RECIPE, backbone="mocov2")])
    assert found is not None
    assert found.endswith("--prune.rounds 2 --prune.pattern 2:4 --prune.exclude conv1")
    other = advice(rows, Classification, [RECIPE])
    assert other is not None
    assert other.endswith("--prune.pattern 2:4"), "the names of the embedded backbone are not those of others"


def test_a_backbone_is_pruned_to_the_pattern(tmp_path: Path) -> None:
    found = prune_backbone("embedded", RECIPE.data, RECIPE.prune, out=tmp_path / "pruned.safetensors")
    weights = load_file(found.path)
    assert all(most_of_four(weights[name]) <= 2 for name in found.masks)


def test_the_head_which_a_backbone_leaves_behind_need_not_suit_the_pattern(tmp_path: Path) -> None:
    blocks = replace(RECIPE.prune, pattern="4x1")  # the ten rows of the head are no multiple of four
    with pytest.raises(InputError, match="fc"):
        dry_run(replace(RECIPE, prune=blocks))
    found = prune_backbone("embedded", RECIPE.data, blocks, out=tmp_path / "pruned.safetensors")
    assert all(mask.view(-1, 4, *mask.shape[1:]).float().std(1).max() == 0 for mask in found.masks.values())


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (pruned(pattern="2;4"), "unknown pattern '2;4'; give N:M"),
        (
            pruned(sparsity=0.3),
            "sparsity is 0.3; pattern 2:4 keeps at most 2 of 4 weights: give a sparsity of at least",
        ),
        (pruned(method="imp", sparsity=0.3), "give a sparsity of at least 0.5"),
        (pruned(exclude=()), "layer conv1 has 3 input channels, .* give --prune.exclude conv1, or another pattern"),
        (
            pruned(pattern="4x4"),
            "layer fc has 10 output channels, .* give --prune.exclude conv1 fc, or another pattern",
        ),
        (
            pruned(method="keep", allocation="global", rounds=None),
            "prune.pattern is set, but does nothing with .* keep",
        ),
    ],
)
def test_what_is_refused_before_anything_is_written(recipe: Recipe, says: str, tmp_path: Path) -> None:
    for attempt in (lambda: transfer.run(recipe, out=tmp_path / "runs"), lambda: dry_run(recipe)):
        with pytest.raises(InputError, match=says) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()
