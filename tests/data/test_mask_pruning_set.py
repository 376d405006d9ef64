"""The images that pruning sees for maps."""

import pytest
import torch

from checkpoints.errors import InputError
from transfer.data.dataset import MaskFiles
from transfer.data.mask_batches import MaskBatches
from transfer.data.pruning_set import MaskPruningSet, mask_pruning_set

from .mask_folders import MEAN, STD, blobs, pairs, write_pair


@pytest.fixture
def split(tmp_path) -> MaskFiles:
    return pairs(tmp_path, [blobs(20 + i, 45 - i, [0, 1, 2, 255], seed=i) for i in range(11)], 3)


def chosen(split: MaskFiles, **options) -> MaskPruningSet:
    return mask_pruning_set(split, **{"crop": 16, "mean": MEAN, "std": STD, **options})


def test_the_images_are_those_of_the_centre_protocol(split):
    found = chosen(split, count=6)
    subset = split.subset(found.indices)
    expected = list(MaskBatches(subset, crop=16, batch=4, mean=MEAN, std=STD, protocol="center"))
    assert [len(inputs) for inputs, _ in found] == [4, 2]
    for _ in range(2):
        for (x, y), (u, v) in zip(found, expected, strict=True):
            assert torch.equal(x, u)
            assert torch.equal(y, v)
            assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


def test_a_small_split_gives_all_of_it_once(split):
    found = chosen(split)
    assert sorted(found.indices.tolist()) == list(range(11))
    assert (len(found), found.samples) == (3, 11)


def test_the_default_is_53_batches_of_4(split):
    many = split.subset(torch.arange(300) % 11)
    found = chosen(many)
    assert (len(found), found.samples, len(set(found.indices.tolist()))) == (53, 212, 212)
    assert {len(inputs) for inputs, _ in found} == {4}


def test_the_seed_chooses_and_the_digest_names(split):
    first = chosen(split, count=6)
    again, other = chosen(split, count=6), chosen(split, count=6, seed=1)
    assert (first.digest, first.indices.tolist()) == (again.digest, again.indices.tolist())
    assert first.digest != other.digest
    assert len(first.digest) == 16
    name = split.images[first.indices[0]].stem
    write_pair(split.images[0].parent.parent, name, blobs(20, 45, [0, 1], seed=99))
    assert chosen(split, count=6).digest != first.digest


def test_ranks_joined_are_one_process(split):
    one = list(chosen(split, count=7))
    ranks = [list(chosen(split, count=7, rank=rank, world=3)) for rank in range(3)]
    for (x, y), parts in zip(one, zip(*ranks, strict=True), strict=True):
        assert torch.equal(x, torch.cat([inputs for inputs, _ in parts]))
        assert torch.equal(y, torch.cat([targets for _, targets in parts]))


def test_random_state_is_left_alone(split):
    before = torch.get_rng_state()
    list(chosen(split))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"count": 0}, "pruning set: count must be 1 image or more, got 0"),
        ({"batch": 0}, "pruning set: batch must be 1 image or more, got 0"),
        ({"crop": 20}, "crop 20 is no multiple of the output stride 16; use 16 or 32"),
    ],
)
def test_what_is_refused(split, options, said):
    with pytest.raises(InputError, match=said):
        chosen(split, **options)
