"""The validation split: drawn from the training images, each class its share; the test images are not in it."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from checkpoints.errors import InputError
from transfer.data.dataset import Dataset, Images, MaskDataset, MaskFiles, voc_palette
from transfer.data.held_out import held_out

COUNTS = (50, 7, 1)


def numbered(labels: torch.Tensor) -> Images:
    """Images whose first pixel is their number."""
    pixels = torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(len(labels))
    return Images(pixels, labels)


def whole() -> Dataset:
    labels = torch.tensor([label for label, count in enumerate(COUNTS) for _ in range(count)])
    test = Images(torch.full((3, 3, 2, 2), 255, dtype=torch.uint8), torch.arange(3))
    return Dataset("own", numbered(labels), test, ("a", "b", "c"), "test")


def names(split: Images) -> list[int]:
    return split.pixels[:, 0, 0, 0].tolist()


def test_each_class_gives_its_share_and_no_image_is_on_both_sides() -> None:
    found = held_out(whole(), share=0.2, seed=3)
    assert torch.bincount(found.test.labels, minlength=3).tolist() == [10, 1, 0]
    assert torch.bincount(found.train.labels, minlength=3).tolist() == [40, 6, 1]
    assert sorted(names(found.train) + names(found.test)) == list(range(58))
    assert (found.test_split, found.train_split, found.classes) == ("validation", "train", ("a", "b", "c"))
    for part in (found.train, found.test):
        assert torch.equal(part.labels, whole().train.labels[names(part)])


def test_the_seed_decides_and_the_global_one_does_not() -> None:
    first = names(held_out(whole(), seed=0).test)
    torch.manual_seed(1)
    assert names(held_out(whole(), seed=0).test) == first
    assert names(held_out(whole(), seed=1).test) != first


def test_float_labels_and_masks_are_drawn_from_all() -> None:
    test = Images(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1))
    found = held_out(Dataset("own", numbered(torch.arange(10.0)), test, (), "val"))
    assert [len(found.train), len(found.test)] == [8, 2]
    files = MaskFiles(tuple(map(Path, "abcdefghij")), tuple(map(Path, "ABCDEFGHIJ")), 2)
    masks = held_out(MaskDataset("own", files, files, ("x", "y"), voc_palette(), "train_aug", "val"))
    assert [len(masks.train), len(masks.test), masks.train_split] == [8, 2, "train_aug"]
    assert {*masks.train.images, *masks.test.images} == {*files.images}
    assert all(mask.name == image.name.upper() for image, mask in zip(masks.test.images, masks.test.masks, strict=True))


@dataclass
class Odd:
    train: list[int]


def test_what_cannot_be_held_out_is_one_line() -> None:
    few = Dataset("own", numbered(torch.arange(3)), whole().test, ("a", "b", "c"), "test")
    with pytest.raises(InputError, match="3 training images are too few to hold out 20%"):
        held_out(few)
    with pytest.raises(InputError, match="no images can be held out of list"):
        held_out(Odd([1, 2]))
