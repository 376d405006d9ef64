"""The sentence at the end of a comparison, and that its command is one that the recipes take."""

import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.data.mask_folders import write_voc
from transfer import recipe_cli
from transfer.recipe import Prune, Recipe
from transfer.report.advice import advice
from transfer.tasks.classification import Classification
from transfer.tasks.segmentation import Segmentation

ROWS = [
    {"method": "dense", "sparsity": 0.0, "mean": 0.992},
    {"method": "px", "sparsity": 0.9, "mean": 0.99},
    {"method": "px", "sparsity": 0.982, "mean": 0.5},
    {"method": "magnitude", "sparsity": 0.982, "mean": 0.9},
]
PRUNED = [
    Recipe(
        name="q",
        prune=Prune(method=row["method"], sparsity=row["sparsity"], rounds=20 if row["method"] == "px" else None),
    )
    for row in ROWS[1:]
]


def test_the_best_at_the_highest_sparsity_is_named_with_its_command():
    sentence, command = advice(ROWS, Classification, PRUNED).split("\n")
    assert sentence == ("At 98.20% sparsity magnitude kept most: 90.00% accuracy, dense 99.20%. For your own images:")
    assert command == (
        "python -m recipes.digits --backbone imagenet-v1 --data.name imagefolder:PATH --data.size 224 "
        "--prune.method magnitude --prune.sparsity 0.982"
    )


def test_nothing_pruned_is_nothing_said():
    assert advice(ROWS[:1], Classification, []) is None


def test_what_was_not_the_methods_own_is_in_the_command():
    prune = Prune(method="px", sparsity=0.9, rounds=20, options=("bf16=true",), recalibrate=True)
    found = advice(ROWS[:2], Segmentation, [Recipe(name="q", backbone="mocov2", prune=prune)])
    assert found.endswith(
        "recipes.voc2012 --backbone mocov2 --data.name voc-folder:PATH --prune.method px --prune.sparsity 0.9 "
        "--prune.rounds 20 --prune.options bf16=true --prune.recalibrate"
    )


def ready(command: str, mine: Path) -> list[str]:
    """Return the words after ``python -m``, with data that is there and a backbone that needs no download."""
    words = shlex.split(command.replace("PATH", str(mine)))[2:]
    words[words.index("imagenet-v1")] = "random:resnet18"
    return [*words, "--dry-run", "--out", str(mine / "runs")]


def test_the_command_for_images_runs(tmp_path, command):
    for folder in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(32):
            Image.new("RGB", (40, 30)).save(tmp_path / folder / f"{number}.png")
    recipe, *words = ready(advice(ROWS, Classification, PRUNED).split("\n")[1], tmp_path)
    code, out, err = command("run", recipe.removeprefix("recipes."), *words)
    assert (code, err) == (0, "")
    assert "magnitude to 98.2000%" in out


@pytest.mark.slow
def test_the_command_for_maps_runs(tmp_path, ended):
    from recipes.voc2012 import RECIPE

    write_voc(tmp_path, train=4, val=2)
    recipe, *words = ready(advice(ROWS, Segmentation, PRUNED).split("\n")[1], tmp_path)
    assert recipe == "recipes.voc2012"
    code, out, err = ended(lambda: recipe_cli.run_recipe(RECIPE, words))
    assert (code, err) == (0, "")
    assert "magnitude to 98.2000%" in out
