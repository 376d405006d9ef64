import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from checkpoints.errors import InputError
from transfer.data.augment import Augment
from transfer.data.dataset import Images, Split
from transfer.data.image_batches import Batches

MEAN, STD = (0.48, 0.45, 0.4), (0.2, 0.25, 0.3)
AUGMENTS = {
    "none": None,
    "pad_crop": Augment(pad_crop=2, flip=True),
    "flip": Augment(flip=True),
    "resized_crop": Augment(resized_crop=(0.1, 1), flip=True),
    "colours": Augment(resized_crop=(0.1, 1), jitter=0.4, grayscale=0.2),
}


def batches(split: Split, **options) -> Batches:
    return Batches(split, **{"size": 8, "batch": 4, "mean": MEAN, "std": STD, **options})


def walked(walk: Batches) -> list[tuple[Tensor, Tensor]]:
    return [(x.clone(), y.clone()) for x, y in walk]


def same(a: list, b: list) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


@pytest.fixture(params=["memory", "files"])
def split(request: pytest.FixtureRequest) -> Split:
    return request.getfixturevalue("images" if request.param == "memory" else "files")()


@pytest.fixture(params=AUGMENTS)
def augment(request: pytest.FixtureRequest) -> Augment | None:
    return AUGMENTS[request.param]


def test_a_second_walk_is_the_same_and_another_epoch_is_not(split, augment):
    walk = batches(split, augment=augment, shuffle=True)
    first = walked(walk)
    assert same(first, walked(walk))
    walk.set_epoch(1)
    assert not same(first, walked(walk))
    walk.set_epoch(0)
    assert same(first, walked(walk))


def test_augmentation_alone_differs_by_epoch_and_seed(split):
    walk = batches(split, augment=AUGMENTS["pad_crop"])
    first = walked(walk)
    walk.set_epoch(1)
    assert not same(first, walked(walk))
    assert not same(first, walked(batches(split, augment=AUGMENTS["pad_crop"], seed=1)))


@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_all_ranks_joined_are_the_batch_of_one(split, augment, world):
    options = {"augment": augment, "shuffle": True, "size": 12}
    ranks = [walked(batches(split, **options, rank=r, world=world)) for r in range(world)]
    joined = [tuple(map(torch.cat, zip(*parts, strict=True))) for parts in zip(*ranks, strict=True)]
    assert same(joined, walked(batches(split, **options)))


def test_random_state_is_neither_read_nor_changed(split, augment):
    walk = batches(split, augment=augment, shuffle=True)
    first = walked(walk)
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert same(first, walked(walk))
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_walks_may_nest_and_keep_the_epoch_that_they_began_with(split):
    walk = batches(split, shuffle=True, augment=AUGMENTS["pad_crop"])
    expected, seen = walked(walk), []
    started = iter(walk)
    for number, batch in enumerate(started):
        seen.append(batch)
        walk.set_epoch(number + 1)
        next(iter(walk))
    assert same(seen, expected)


@given(
    count=st.integers(1, 20),
    batch=st.integers(1, 8),
    world=st.integers(1, 4),
    shuffle=st.booleans(),
    drop=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_each_sample_comes_once_and_the_counts_are_right(count, batch, world, shuffle, drop):
    split = Images(torch.zeros(count, 3, 2, 2, dtype=torch.uint8), torch.arange(count))
    ranks = [
        batches(split, size=2, batch=batch, rank=r, world=world, shuffle=shuffle, drop_last=drop) for r in range(world)
    ]
    sizes = torch.tensor([[len(y) for _, y in rank] for rank in ranks])
    labels = torch.cat([y for rank in ranks for _, y in rank])
    kept = count if not drop or count < batch else count - count % batch
    assert len(labels.unique()) == len(labels) == kept == ranks[0].samples
    assert sizes.shape == (world, len(ranks[0]))
    assert (sizes.amax(0) - sizes.amin(0) <= 1).all()
    assert (sizes.sum(0)[:-1] == batch).all()


def test_a_split_smaller_than_a_batch_is_not_dropped(images):
    walk = batches(images(3), batch=4, drop_last=True)
    assert [len(y) for _, y in walk] == [3]
    assert (len(walk), walk.samples) == (1, 3)


def test_without_shuffle_the_order_is_the_split_s(images):
    split = images()
    assert torch.equal(torch.cat([y for _, y in batches(split)]), split.labels)


def test_normalisation_is_torchvision_s_to_the_bit(images):
    split = images()
    expected = reference.normalize(reference.to_dtype(split.pixels, torch.float32, scale=True), list(MEAN), list(STD))
    inputs, targets = next(iter(batches(split, batch=13)))
    assert torch.equal(inputs, expected)
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [5, 12])
def test_resizing_is_torchvision_s(images, size, interpolation):
    split = images()
    mode = reference.InterpolationMode(interpolation) if hasattr(reference, "InterpolationMode") else interpolation
    inputs, _ = next(
        iter(batches(split, batch=13, size=size, interpolation=interpolation, mean=(0,) * 3, std=(1,) * 3))
    )
    pixels = reference.resize(split.pixels.float(), [size, size], interpolation=mode, antialias=True).clamp(0, 255)
    torch.testing.assert_close(inputs, pixels / 255, atol=1e-6, rtol=0)


def test_channels_last_changes_the_layout_only(images):
    inputs, _ = next(iter(batches(images(), channels_last=True)))
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(inputs, next(iter(batches(images())))[0])


def test_autocast_does_not_touch_the_inputs(images, augment):
    walk = batches(images(), augment=augment, size=12)
    expected = walked(walk)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(walked(walk), expected)


def test_the_split_is_left_as_it_was(images):
    split = images()
    before = split.pixels.clone()
    walked(batches(split, augment=AUGMENTS["pad_crop"]))
    assert torch.equal(split.pixels, before)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 0}, "image size must be 1 pixel or more, got 0"),
        ({"batch": 0}, "batch must be 1 sample or more, got 0"),
        ({"workers": -1}, "workers must be 0"),
        ({"interpolation": "bilinea"}, "did you mean bilinear"),
        ({"mean": (0, 0)}, "mean must be three finite numbers"),
        ({"std": (1, 1, 0)}, "std must be three finite numbers above 0"),
    ],
)
def test_bad_options_are_named(images, options, says):
    with pytest.raises(InputError, match=says):
        batches(images(), **options)


def test_an_empty_split_and_a_wrong_rank_are_refused(images):
    with pytest.raises(InputError, match="the split has no images"):
        batches(images().subset(torch.tensor([], dtype=torch.int64)))
    with pytest.raises(ValueError, match="rank must lie in"):
        batches(images(), rank=2, world=2)
