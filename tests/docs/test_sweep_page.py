"""docs/experiments.md: the grid of one's own is one, and the numbers on the papers' grids are theirs."""

import re
from pathlib import Path

from transfer.runs.combinations import recipes
from transfer.sweeps import grid_file

PAGE = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()


def test_the_grid_on_the_page(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    (tmp_path / "mine.toml").write_text(text)
    found = grid_file.load(str(tmp_path / "mine.toml"))
    assert found.recipe.train.epochs == 20
    assert found.grid.methods == ("ntk-trace", "px")


def test_the_size_on_the_page() -> None:
    found = grid_file.load("paper-cifar10")
    assert f"{len(recipes(found.recipe, found.grid))} runs of {found.recipe.train.epochs} epochs" in PAGE
