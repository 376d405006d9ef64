from pathlib import Path

import pytest
import torch

from checkpoints.errors import InputError
from transfer.data.dataset import Dataset, ImageFiles, Images

GOOD = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("pixels", "labels", "says"),
    [
        (GOOD.float(), torch.arange(4), "images must be uint8"),
        (GOOD[:, :1], torch.arange(4), r"images must have the shape \(N, 3, H, W\), got \(4, 1, 2, 2\)"),
        (GOOD[0], torch.arange(4), "images must have the shape"),
        (GOOD, torch.arange(3), r"labels must have the shape \(4,\), one per image, got \(3,\)"),
        (GOOD, torch.arange(4).int(), "labels must be int64"),
    ],
)
def test_images_of_the_wrong_form_are_refused(pixels, labels, says):
    with pytest.raises(InputError, match=says):
        Images(pixels, labels)


def test_files_and_labels_must_be_as_many():
    with pytest.raises(InputError, match="one per image"):
        ImageFiles((Path("a"),), torch.arange(2))


def test_subset_keeps_the_order_asked(images):
    split, chosen = images(), torch.tensor([5, 0, 3])
    assert torch.equal(split.subset(chosen).pixels, split.pixels[chosen])
    paths = tuple(Path(str(i)) for i in range(13))
    assert ImageFiles(paths, split.labels).subset(chosen).paths == (Path("5"), Path("0"), Path("3"))


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [-1, 0, 1, 2]])
def test_labels_out_of_range_are_refused(labels):
    bad = Images(GOOD, torch.tensor(labels))
    with pytest.raises(InputError, match=r"mine: labels of the val split run .* allowed are 0 to 2 \(3 classes\)"):
        Dataset("mine", Images(GOOD, torch.zeros(4, dtype=torch.int64)), bad, ("a", "b", "c"), "val")


def test_an_empty_split_is_refused(images):
    with pytest.raises(InputError, match="mine: the train split has no images"):
        Dataset("mine", images().subset(torch.arange(0)), images(), ("a", "b", "c"), "test")
