import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints.errors import InputError
from transfer.data.pruning_set import balanced, pruning_set

LOOK = {"size": 8, "mean": (0.5,) * 3, "std": (0.2,) * 3, "batch": 4, "seed": 0}
CLASSES = ("a", "b", "c")


@given(classes=st.integers(1, 5), per_class=st.integers(1, 4), extra=st.integers(0, 9), seed=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_each_class_comes_equally_often_and_in_turn(classes, per_class, extra, seed):
    source = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(classes).repeat(per_class), torch.randint(classes, (extra,), generator=source)])
    chosen = balanced(labels, [str(i) for i in range(classes)], per_class=per_class, seed=seed)
    assert len(chosen.unique()) == classes * per_class
    assert torch.equal(labels[chosen].view(per_class, classes), torch.arange(classes).expand(per_class, -1))


def test_it_is_fixed_by_the_seed_and_any_image_may_be_chosen(images):
    split = images(30)
    one, again = (pruning_set(split, CLASSES, per_class=2, **LOOK) for _ in range(2))
    assert one.digest == again.digest
    assert torch.equal(one.indices, again.indices)
    seen = torch.cat([balanced(split.labels, CLASSES, per_class=2, seed=s) for s in range(60)])
    assert len(seen.unique()) == 30
    assert pruning_set(split, CLASSES, per_class=2, **{**LOOK, "seed": 1}).digest != one.digest


def test_walks_are_the_chosen_images_at_test_time(images):
    split = images(30)
    walk = pruning_set(split, CLASSES, per_class=3, **LOOK)
    first, second = list(walk), list(walk)
    assert all(torch.equal(x, u) for (x, _), (u, _) in zip(first, second, strict=True))
    assert torch.equal(torch.cat([y for _, y in first]), split.labels[walk.indices])
    expected = (split.pixels[walk.indices].float() / 255 - 0.5) / 0.2
    torch.testing.assert_close(torch.cat([x for x, _ in first]), expected)
    walk.set_epoch(7)
    assert torch.equal(next(iter(walk))[0], first[0][0])


@pytest.mark.parametrize("batch", [4, 5, 7, 100])
def test_each_batch_mixes_the_classes(images, batch):
    """BatchNorm sees the statistics of a batch, so a batch of one class would show it another network."""
    for _, labels in pruning_set(images(), CLASSES, per_class=3, **{**LOOK, "batch": batch}):
        counts = labels.bincount(minlength=len(CLASSES))
        assert counts.max() - counts.min() <= 1


def test_files_are_decoded_once(files):
    split = files(7)
    walk = pruning_set(split, CLASSES, per_class=2, **LOOK)
    for path in split.paths:
        path.unlink()
    assert torch.cat([x for x, _ in walk]).shape == (6, 3, 8, 8)
    assert torch.cat([y for _, y in walk]).bincount().tolist() == [2, 2, 2]


def test_ranks_share_the_set(images):
    options = {"per_class": 3, **LOOK}
    whole = torch.cat([y for _, y in pruning_set(images(), CLASSES, **options)])
    parts = [pruning_set(images(), CLASSES, **options, rank=r, world=2) for r in range(2)]
    joined = torch.cat([torch.cat([y, v]) for (_, y), (_, v) in zip(*parts, strict=True)])
    assert torch.equal(joined, whole)


def test_too_few_images_of_a_class_are_named(images):
    with pytest.raises(InputError, match=r"class 'b' has 4 images, wanted 5 \(and 1 more .*ask for at most 4"):
        pruning_set(images(13), CLASSES, per_class=5, **LOOK)
    with pytest.raises(InputError, match="class 'd' has 0 images"):
        pruning_set(images(13), (*CLASSES, "d"), per_class=1, **LOOK)
    with pytest.raises(InputError, match="per_class must be 1 image or more, got 0"):
        pruning_set(images(13), CLASSES, per_class=0, **LOOK)
