from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.export.sides import SizeCheck


class Guard(nn.Module):
    """As torch's: an assertion on each side."""

    def __init__(self, height: Callable[[int], bool], width: Callable[[int], bool]) -> None:
        super().__init__()
        self._takes = height, width

    def forward(self, x: Tensor) -> None:
        for side, takes in zip(x.shape[2:], self._takes, strict=True):
            assert takes(side), "Guard failed"


def check(height: Callable[[int], bool], width: Callable[[int], bool] | None = None, side: int = 64) -> SizeCheck:
    return SizeCheck(Guard(height, width or height), torch.zeros(2, 3, side, side))


@pytest.mark.parametrize(
    ("takes", "words", "others"),
    [
        (lambda s: s == 64, "sides of 64 px", set()),
        (lambda s: s > 32, "sides of 33 or more px", {65, 84, 103}),
        (lambda s: 32 <= s < 65, "sides of 32 to 64 px", set()),
        (lambda s: s % 16 == 0 and s > 16, "sides of 32, 48, 64, … px", {80, 96, 112}),
        (lambda s: s % 16 == 0 and s < 99, "sides of 16, 32, 48, … to 96 px", {80, 96}),
        (lambda s: s % 16 in (0, 1, 15), "sides of 16, 32, 48, … px", {65, 95, 111}),
        (lambda s: s in (3, 64, 71), "sides of 3, 64, 71, … px", {71}),
    ],
)
def test_allowed_sides_are_found_and_said(takes: Callable[[int], bool], words: str, others: set[int]) -> None:
    made = check(takes)
    assert made.words() == words
    assert {side for sides in made.others() for side in sides} == others


def test_a_refused_image_says_which_are_taken() -> None:
    made = check(lambda s: s % 32 == 0, lambda s: s >= 7)
    made(torch.zeros(1, 3, 96, 13))
    with pytest.raises(
        InputError, match=r"^an image is 65×66 px, but the network takes height of 32, 64, 96, … px, wid"
    ):
        made(torch.zeros(1, 3, 65, 66))


@pytest.mark.parametrize("shape", [(2, 1, 64, 64), (3, 64, 64), (2, 3, 64, 64, 64)])
def test_images_of_another_kind_are_not_called_too_small(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        InputError, match=r"^images have the shape \(\d+, .*, but the network takes \(N, 3, side, side\)$"
    ):
        check(lambda s: s == 64)(torch.zeros(shape))


def test_sides_beyond_the_usual_ones_are_tried_too() -> None:
    assert check(lambda s: s <= 1500, side=800).words() == "sides of 2 to 1500 px"
