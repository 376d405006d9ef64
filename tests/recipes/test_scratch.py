"""The recipes from random weights: what --help and --dry-run say, and that they hold the papers' settings."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import timm

import checkpoints.architectures
from transfer import recipe_cli

Outcome = tuple[int, str, str]
SLOW = pytest.mark.slow
RECIPES = {  # the row of the paper: backbone, epochs, batch, rate, decay, milestones, size
    "cifar10_scratch": ("random:resnet20", 160, 128, 0.1, 1e-4, (80, 120), 32),
    "cifar100_scratch": ("random:vgg16_bn_cifar", 160, 128, 0.1, 5e-4, (60, 120), 32),
    "tiny_imagenet_scratch": ("random:resnet18", 200, 256, 0.2, 1e-4, (100, 150), 64),
    "imagenet_scratch": ("random:resnet50", 90, 448, 0.1, 1e-4, (30, 60, 80), 224),
    "mnist_scratch": ("random:fc_500", 50, 64, 0.01, 0.0, (), 28),
}


@pytest.mark.parametrize("name", RECIPES)
def test_it_holds_the_papers_row(name: str) -> None:
    recipe = import_module(f"recipes.{name}").RECIPE
    train, prune = recipe.train, recipe.resolved().prune
    found = (recipe.backbone, train.epochs, train.batch, train.lr, train.weight_decay, train.milestones)
    assert (*found, recipe.data.size) == RECIPES[name]
    assert (prune.rounds, prune.per_class) == (100, 10)
    assert (train.optimizer, train.nesterov) == ("adam" if name == "mnist_scratch" else "sgd", "100" in name)
    recipe.check()


@pytest.mark.parametrize(
    "name", ["cifar10_scratch", "mnist_scratch", *(pytest.param(n, marks=SLOW) for n in list(RECIPES)[1:4])]
)
def test_help_and_a_dry_run_without_the_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., Outcome]
) -> None:
    monkeypatch.setenv("TRANSFER_DATA", str(tmp_path))
    recipe = import_module(f"recipes.{name}").RECIPE
    code, out, _ = ended(lambda: recipe_cli.run_recipe(recipe, ["--help"]))
    assert code == 0
    assert recipe.backbone in out
    code, out, err = ended(lambda: recipe_cli.run_recipe(recipe, ["--dry-run", "--out", str(tmp_path / "runs")]))
    assert not list(tmp_path.iterdir())
    if "imagenet" in recipe.data.name:  # which no run downloads
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert recipe.data.name in err.replace("imagefolder ", "imagefolder:")
        return
    assert (code, err) == (0, "")
    (absent,) = [line for line in out.splitlines() if line.startswith("absent")]
    assert absent.startswith(f"absent    {recipe.data.name} is not on this machine; a run downloads it")


def test_every_net_of_the_package_is_named_by_a_recipe() -> None:
    pages = "".join(path.read_text() for path in Path(recipe_cli.__file__).parents[1].glob("recipes/*.py"))
    own = [
        name for name in timm.list_models()
        if timm.model_entrypoint(name).__module__.startswith(checkpoints.architectures.__name__)
    ]  # fmt: skip
    assert len(own) == 8
    for name in own:
        width = name.removeprefix("fc_")  # a recipe lists the widths of the fully connected nets
        assert f"random:{name}" in pages or (width != name and f" {width}" in pages), name
