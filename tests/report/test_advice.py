"""The sentence at the end of a comparison, and that its command is one that the recipes take."""

import shlex

import pytest
from PIL import Image

from recipes.digits import RECIPE as DIGITS
from recipes.voc2012 import RECIPE as VOC
from tests.conftest import Ended
from tests.data.map_folders import write_voc
from transfer import launch
from transfer.recipe import Prune, Recipe
from transfer.report.advice import advice

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
    sentence, command = advice(ROWS, "accuracy", PRUNED).split("\n")
    assert sentence == ("At 98.20% sparsity magnitude kept most: 90.00% accuracy, dense 99.20%. For your own images:")
    assert command == (
        "python -m recipes.digits --backbone imagenet-v1 --data.name imagefolder:PATH --data.size 224 "
        "--prune.method magnitude --prune.sparsity 0.982"
    )


def test_nothing_pruned_is_nothing_said():
    assert advice(ROWS[:1], "accuracy", []) is None


def test_what_was_not_the_methods_own_is_in_the_command():
    prune = Prune(method="px", sparsity=0.9, rounds=20, options=("bf16=true",), recalibrate=True)
    found = advice(ROWS[:2], "miou", [Recipe(name="q", backbone="mocov2", prune=prune)])
    assert found.endswith(
        "recipes.voc2012 --backbone mocov2 --data.name voc-folder:PATH --prune.method px --prune.sparsity 0.9 "
        "--prune.rounds 20 --prune.options bf16=true --prune.recalibrate"
    )


@pytest.mark.parametrize(("headline", "recipe"), [("accuracy", DIGITS), ("miou", VOC)])
def test_the_command_runs(headline: str, recipe: Recipe, tmp_path, ended: Ended):
    if headline == "miou":
        write_voc(tmp_path / "mine", train=4, val=2)
    for split in ("train", "val") if headline == "accuracy" else ():
        for name in ("cat", "dog"):
            (tmp_path / "mine" / split / name).mkdir(parents=True)
            for number in range(32):
                Image.new("RGB", (40, 30)).save(tmp_path / "mine" / split / name / f"{number}.png")
    command = advice(ROWS, headline, PRUNED).split("\n")[1].replace("PATH", str(tmp_path / "mine"))
    words = shlex.split(command)[3:]
    words[words.index("imagenet-v1")] = "random:resnet18"  # as large images, without the weights
    code, out, err = ended(lambda: launch.main(recipe, [*words, "--dry-run", "--out", str(tmp_path / "runs")]))
    assert (code, err) == (0, "")
    assert "magnitude to 98.2000%" in out
