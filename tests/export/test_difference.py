import math

import pytest
import torch

from transfer.export.difference import gap

ONES = torch.ones(2, 3)


def test_the_largest_difference_over_the_largest_output() -> None:
    wanted = {"a": torch.tensor([1.0, -4.0]), "b": torch.tensor([[2.0]])}
    assert gap(wanted, [torch.tensor([1.0, -4.0]), torch.tensor([[2.5]])]) == 0.25
    assert gap(wanted, [torch.tensor([2.0, -4.0]), torch.tensor([[2.0]])]) == 0.25
    assert gap(ONES, ONES.half()) == 0
    assert gap(torch.zeros(3), torch.zeros(3)) == 0


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_infinitely_far(place: int, value: float) -> None:
    spoiled = [ONES.clone(), ONES.clone()]
    spoiled[place][1, 2] = value
    assert gap([ONES, ONES], spoiled) == math.inf
    assert gap(spoiled, [ONES, ONES]) == math.inf


@pytest.mark.parametrize("found", [[], [ONES, ONES], torch.ones(1, 3), torch.ones(3), torch.ones(3, 2)])
def test_other_outputs_are_infinitely_far(found: object) -> None:
    assert gap([ONES], found) == math.inf
