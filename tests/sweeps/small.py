"""A recipe whose cells take about a second, and a run of it that takes no time."""

from pathlib import Path
from typing import Any

from transfer.data.identity import fingerprint
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs.folder import RunFolder
from transfer.runs.prepare import origin
from transfer.runs.run import Result
from transfer.runs.shelf import Shelf

RECIPE = Recipe(
    name="small",
    backbone="random:resnet20",
    data=Data(name="digits", size=8),
    prune=Prune(method="magnitude", sparsity=0.5, rounds=2, per_class=2),
    train=Train(epochs=0, batch=256, precision="no"),
)


def run(recipe: Recipe, *, out: Path, shelf: Shelf, **_: Any) -> Result:
    """Stand in for ``transfer.runs.run.run``: write what makes a run folder a finished one."""
    recipe, backbone = recipe.resolved(), shelf.backbone(recipe.backbone, recipe.seed).digest()
    folder = RunFolder(out, recipe, origin(recipe, backbone, fingerprint(shelf.data(recipe.data.name))))
    metrics = {"task": "classification", "accuracy": 0.5}
    with folder.opened():
        folder.file("model.safetensors").touch()
        folder.write_json("result.json", metrics)
    return Result(folder.path, metrics)
