"""What people call a run: sparsities that differ have names that differ."""

import pytest

from transfer.recipe import Prune, Recipe
from transfer.runs.naming import called, percent


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.9, "90.00%"), (0.982, "98.20%"), (0.5904, "59.04%"), (0.98201, "98.201%"), (0.98204, "98.204%"),
        (1e-7, "0.00001%"), (0.1 + 0.2, "30.000000000000004%"), (0, "0.00%"), (1.5, "150.00%"), (float("inf"), "inf%"),
        (float("nan"), "NaN%"),
    ],
)  # fmt: skip
def test_percent(fraction: float, text: str) -> None:
    assert percent(fraction) == text


@pytest.mark.parametrize(
    ("prune", "name"),
    [
        (Prune("px", 0.9), "px 90.00%, seed 3"),
        (Prune("px", 0.0), "dense, seed 3"),
        (Prune("keep", 0.9), "keep, seed 3"),
    ],
)
def test_called(prune: Prune, name: str) -> None:
    assert called(Recipe("some", prune=prune, seed=3)) == name
