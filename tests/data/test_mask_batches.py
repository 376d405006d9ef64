"""Laws of batches of maps: repetition, ranks, workers, skipping; and what is refused before work."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data.augment import MaskAugment
from transfer.data.dataset import MaskFiles
from transfer.data.mask_batches import MaskBatches

from .mask_folders import MEAN, STD, blobs, pairs

LOOKS = {"augment": {"augment": MaskAugment()}, "whole": {"protocol": "whole"}, "center": {"protocol": "center"}}


@pytest.fixture
def split(tmp_path) -> MaskFiles:
    return pairs(tmp_path, [blobs(20 + 5 * i, 45 - 3 * i, [0, 1, 2, 255], seed=i) for i in range(7)], 3)


@pytest.fixture(params=LOOKS)
def look(request) -> dict:
    return LOOKS[request.param]


def batches(split: MaskFiles, **options) -> MaskBatches:
    return MaskBatches(split, **{"crop": 32, "batch": 3, "mean": MEAN, "std": STD, **options})


def same(a: list, b: list) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


def images(walks: list[list[tuple[Tensor, Tensor]]]) -> list[tuple[Tensor, Tensor]]:
    """The images of all ranks in the order of one process."""
    return [
        pair for step in zip(*walks, strict=True) for inputs, targets in step
        for pair in zip(inputs, targets, strict=True)
    ]  # fmt: skip


def test_shapes_and_types(split, look):
    walk = batches(split, **look)
    found = list(walk)
    assert len(found) == len(walk) == (7 if "whole" in look.values() else 3)
    assert (sum(len(x) for x, _ in found), walk.samples) == (7, 7)
    for inputs, targets in found:
        assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)
        assert (inputs.shape[0], *inputs.shape[2:]) == tuple(targets.shape)
        assert inputs.shape[1] == 3
        assert all(side % 16 == 0 for side in targets.shape[1:])
        if "whole" not in look.values():
            assert targets.shape[1:] == (32, 32)
        assert inputs.is_contiguous()


def test_a_second_walk_is_the_same_and_another_epoch_is_not(split, look):
    walk = batches(split, shuffle=True, **look)
    first = list(walk)
    assert same(first, list(walk))
    walk.set_epoch(1)
    assert not same(first, list(walk))
    walk.set_epoch(0)
    assert same(first, list(walk))


def test_augmentation_alone_differs_by_epoch_and_seed(split):
    walk = batches(split, augment=MaskAugment())
    first = list(walk)
    walk.set_epoch(1)
    assert not same(first, list(walk))
    assert not same(first, list(batches(split, augment=MaskAugment(), seed=1)))


def test_the_random_part_of_a_sample_is_its_own(split):
    """Not of its place in a batch: a shuffled walk has the same images as one in order."""
    ordered = {x.numpy().tobytes() for x, _ in images([list(batches(split, augment=MaskAugment()))])}
    shuffled = {x.numpy().tobytes() for x, _ in images([list(batches(split, augment=MaskAugment(), shuffle=True))])}
    assert ordered == shuffled


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_parts_of_all_ranks_joined_are_the_walk_of_one(split, look, world):
    walks = [batches(split, shuffle=True, rank=rank, world=world, **look) for rank in range(world)]
    assert len({len(walk) for walk in walks}) == 1
    assert {walk.samples for walk in walks} == {7}
    found = [list(walk) for walk in walks]
    assert [len(walk) for walk in found] == [len(walks[0])] * world
    assert same(images(found), images([list(batches(split, shuffle=True, **look))]))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_work(split, look, world):
    walks = [batches(split, rank=rank, world=world, **look) for rank in range(world)]
    counts = [sum(len(inputs) for inputs, _ in walk) for walk in walks]
    assert max(counts) < 7
    if "whole" in look.values():
        assert max(counts) == len(walks[0]) == -(-7 // world)


def test_a_rank_without_a_part_gets_an_empty_batch(split, look):
    few = split.subset(torch.tensor([0]))
    for rank, count in ((0, 0), (1, 1)):
        ((inputs, targets),) = batches(few, rank=rank, world=2, **look)
        assert (len(inputs), len(targets)) == (count, count)
        assert (inputs.shape[1], inputs.ndim, targets.ndim) == (3, 4, 3)
        assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)


def test_workers_change_nothing(split, look):
    first = list(batches(split, shuffle=True, **look))
    assert same(first, list(batches(split, shuffle=True, workers=2, **look)))


def test_a_walk_can_begin_later(split, look):
    walk = batches(split, shuffle=True, **look)
    walk.set_epoch(3)
    whole = list(walk)
    for start in (1, 2, len(walk)):
        walk.set_epoch(3, start=start)
        assert same(list(walk), whole[start:])
        assert len(walk) == len(whole)
    walk.set_epoch(3)
    assert same(list(walk), whole)
    with pytest.raises(ValueError, match="start must lie in"):
        walk.set_epoch(0, start=len(walk) + 1)


def test_nothing_before_the_start_is_decoded(split):
    walk = batches(split, batch=2, protocol="center")
    for path in split.images[:2]:
        path.unlink()
    with pytest.raises(InputError):
        next(iter(walk))
    walk.set_epoch(0, start=1)
    assert len(list(walk)) == 3


def test_an_epoch_holds_for_walks_that_start_after_it(split):
    walk = batches(split, augment=MaskAugment(), shuffle=True)
    first, running = list(walk), iter(walk)
    walk.set_epoch(1, start=2)
    assert same(first, list(running))


def test_random_state_is_neither_read_nor_changed(split, look):
    walk = batches(split, shuffle=True, **look)
    first = list(walk)
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert same(first, list(walk))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


def test_drop_last_drops_a_smaller_batch_unless_it_is_the_only_one(split):
    walk = batches(split, batch=4, drop_last=True, augment=MaskAugment())
    assert ([len(x) for x, _ in walk], len(walk), walk.samples) == ([4], 1, 4)
    only = batches(split, batch=9, drop_last=True, augment=MaskAugment())
    assert ([len(x) for x, _ in only], only.samples) == ([7], 7)


def test_channels_last_changes_the_layout_alone(split, look):
    for (x, y), (u, v) in zip(batches(split, **look), batches(split, channels_last=True, **look), strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)
        assert u.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crop": 513}, "crop 513 is no multiple of the output stride 16; use 512 or 528"),
        ({"crop": 12, "stride": 8}, "crop 12 is no multiple of the output stride 8; use 8 or 16"),
        ({"crop": 7}, "crop 7 is no multiple of the output stride 16; use 16"),
        ({"crop": 0}, "crop must be 16 pixels or more, got 0"),
        ({"stride": 0}, "stride must be 1 pixel or more, got 0"),
        ({"batch": 0}, "batch must be 1 sample or more, got 0"),
        ({"workers": -1}, "workers must be 0"),
        ({"protocol": "centre"}, "protocol 'centre' is unknown; did you mean center"),
        ({"interpolation": "nearest"}, "interpolation 'nearest' is unknown; did you mean bilinear"),
        ({"std": (1, 0, 1)}, "std must be three finite numbers above 0"),
    ],
)
def test_what_is_refused_before_any_file_is_read(split, options, said):
    with pytest.raises(InputError, match=said):
        batches(split, **options)


def test_an_empty_split_and_a_wrong_rank(split):
    with pytest.raises(InputError, match="the split has no images"):
        batches(split.subset(torch.tensor([], dtype=torch.int64)))
    with pytest.raises(ValueError, match="rank must lie in"):
        batches(split, rank=2, world=2)


@pytest.mark.parametrize("scale", [(0, 1), (2, 1), (0.5, float("inf")), (float("nan"), 1)])
def test_scales_that_are_refused(scale):
    with pytest.raises(InputError, match="scale must be two finite factors with 0 < low <= high"):
        MaskAugment(scale=scale)
