"""Overlap by hand and against sets; its expectation against random draws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints.errors import InputError
from transfer.analysis.overlap import expected_overlap, overlap
from transfer.pruning import Masks


def masks(**bits):
    return Masks({name: torch.tensor([bit == "1" for bit in text]) for name, text in bits.items()})


def test_by_hand():
    a, b = masks(x="1100", y="11110000"), masks(x="0110", y="11000000")
    found = overlap(a, b)
    assert found.layers == {"x": 1 / 3, "y": 2 / 4}
    assert found.total == 3 / 7
    assert overlap(b, a) == found
    expected = expected_overlap(a, b)
    assert expected.layers == {"x": pytest.approx(1 / 3), "y": pytest.approx(1 / 5)}  # 1 of 3; 1 of 5
    assert expected.total == pytest.approx(2 / 8)


def test_equal_masks_and_disjoint_ones():
    a, b = masks(x="1100", y="00"), masks(x="0011", y="00")
    assert overlap(a, a).total == 1
    assert overlap(a, b).total == 0
    assert overlap(a, b).layers == {"x": 0, "y": 1}
    assert expected_overlap(a, b).layers["y"] == 1
    empty = masks(x="0000", y="00")
    assert overlap(empty, empty).total == expected_overlap(empty, empty).total == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_against_sets(bits):
    one, other = ({i for i, pair in enumerate(bits) if pair[side]} for side in (0, 1))
    a, b = (Masks({"x": torch.tensor([pair[side] for pair in bits])}) for side in (0, 1))
    union = one | other
    assert overlap(a, b).total == (len(one & other) / len(union) if union else 1)


def test_the_expectation_is_what_random_masks_of_the_same_layer_densities_have():
    generator = torch.Generator().manual_seed(0)
    densities = {"dense": (0.5, 0.8), "sparse": (0.05, 0.2)}

    def drawn(side):
        return Masks({n: torch.rand(1000, 500, generator=generator) < d[side] for n, d in densities.items()})

    a, b = drawn(0), drawn(1)
    found, expected = overlap(a, b), expected_overlap(a, b)
    assert expected.layers == pytest.approx({"dense": 0.4 / 0.9, "sparse": 0.01 / 0.24}, rel=0.03)
    assert found.layers == pytest.approx(expected.layers, rel=0.05)
    assert found.total == pytest.approx(expected.total, rel=0.03)


@pytest.mark.parametrize("compare", [overlap, expected_overlap])
def test_masks_of_other_weights_are_refused(compare):
    with pytest.raises(InputError, match="only one of the two masks has y"):
        compare(masks(x="1", y="1"), masks(x="1"))
    with pytest.raises(InputError, match="only one of the two masks has y"):
        compare(masks(x="1"), masks(x="1", y="1"))
    with pytest.raises(InputError, match=r"shapes \(2,\) and \(3,\)"):
        compare(masks(x="11"), masks(x="110"))
