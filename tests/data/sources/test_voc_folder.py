"""Folders in the layout of VOC: what is read, and one line for each thing that is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints.errors import InputError
from tests.data.mask_folders import write_list, write_pair, write_voc
from transfer import data
from transfer.data.dataset import MaskDataset, MaskFiles, voc_palette


def load(home: Path) -> MaskDataset:
    loaded = data.load(f"voc-folder:{home}")
    assert isinstance(loaded, MaskDataset)
    return loaded


def refused(home: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(home)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".JPG"])
def test_a_folder_is_read_in_the_order_of_its_lists(tmp_path, suffix):
    home = write_voc(tmp_path, suffix=suffix)
    write_list(home, "train", ["c", "a", "b", "d"])
    loaded = load(home)
    assert [path.name for path in loaded.train.images] == [f"{n}{suffix}" for n in "cabd"]
    assert [path.name for path in loaded.train.masks] == [f"{n}.png" for n in "cabd"]
    assert [path.stem for path in loaded.test.images] == ["e", "f", "g"]
    assert loaded.classes == ("class 0", "class 1", "class 2", "class 3")
    assert (loaded.train_split, loaded.test_split, loaded.train.classes) == ("train", "val", 4)
    assert (loaded.name, len(loaded.palette)) == (f"voc-folder:{home}", 256)


def test_the_palette_is_vocs():
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 5: (128, 0, 128)}
    known |= {8: (64, 0, 0), 15: (192, 128, 128), 16: (0, 64, 0), 20: (0, 64, 128), 255: (224, 224, 192)}
    palette = voc_palette()
    assert {label: palette[label] for label in known} == known
    assert len(set(palette)) == 256
    assert voc_palette(21) == palette[:21]


def test_files_that_no_list_names_are_left_alone(tmp_path):
    home = write_voc(tmp_path)
    (home / "JPEGImages/unlisted.jpg").write_bytes(b"")
    (home / "SegmentationClass/other.png").write_bytes(b"")
    (home / "SegmentationClass/Thumbs.db").write_bytes(b"")
    assert len(load(home).train) == 4


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("JPEGImages/b.jpg", r"mask .*/SegmentationClass/b\.png has no image JPEGImages/b\.jpg, but .*train\.txt"),
        ("SegmentationClass/f.png", r"image .*/JPEGImages/f\.jpg has no mask SegmentationClass/f\.png, but .*val\.txt"),
        ("ImageSets/Segmentation/val.txt", r"Segmentation/val\.txt: cannot be read \(No such file"),
        ("classes.txt", r"classes\.txt: absent; write the name of each class on a line, background first"),
    ],
)
def test_a_file_that_is_absent_is_named(tmp_path, absent, said):
    home = write_voc(tmp_path)
    (home / absent).unlink()
    assert re.search(said, refused(home))


def test_a_name_without_image_and_mask(tmp_path):
    home = write_voc(tmp_path)
    write_list(home, "train", ["a", "nowhere"])
    assert re.search(r"nowhere has neither image nor mask, but .*train\.txt lists it", refused(home))


def test_two_images_of_one_name(tmp_path):
    home = write_voc(tmp_path)
    Image.new("RGB", (8, 8)).save(home / "JPEGImages/b.png")
    assert re.search(r"JPEGImages/b\.jpg: b\.png has the same name", refused(home))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", r"train\.txt: lists no images"),
        ("\n \n", r"train\.txt: lists no images"),
        ("a\nb\na\n", r"train\.txt: lists a 2 times; keep one"),
        ("a\n../b\n", r"train\.txt: '\.\./b' is no name of an image"),
        ("a\ne\n", r"train\.txt: e stands in val\.txt too"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, content, said):
    home = write_voc(tmp_path)
    (home / "ImageSets/Segmentation/train.txt").write_text(content)
    assert re.search(said, refused(home))


def test_lists_of_windows_and_without_a_last_line_end(tmp_path):
    home = write_voc(tmp_path)
    (home / "ImageSets/Segmentation/train.txt").write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert [path.stem for path in load(home).train.images] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "names 0 classes, allowed are 2 to 255"),
        ("background\n", "names 1 classes"),
        ("\n".join(map(str, range(256))), "names 256 classes"),
        ("background\n\ncat\n", "line 2 is empty"),
        ("background\ncat\ncat\n", "line 3 repeats 'cat'"),
    ],
)
def test_class_lists_that_cannot_be_used(tmp_path, content, said):
    home = write_voc(tmp_path)
    (home / "classes.txt").write_text(content)
    assert f"classes.txt: {said}" in refused(home)


def test_no_folder(tmp_path):
    assert f"{tmp_path / 'no'} is no folder; want <path>/JPEGImages" in refused(tmp_path / "no")
    with pytest.raises(InputError, match="no path given; want <path>/JPEGImages"):
        data.load("voc-folder:")


def test_a_subset_keeps_pairs(tmp_path):
    split = load(write_voc(tmp_path)).train.subset(torch.tensor([2, 0]))
    assert [path.stem for path in split.images] == [path.stem for path in split.masks] == ["c", "a"]
    assert (len(split), split.classes) == (2, 4)


def test_checks_of_the_types(tmp_path):
    files = (tmp_path / "a.jpg",)
    with pytest.raises(InputError, match="got 1 images and 0 masks"):
        MaskFiles(files, (), 3)
    for classes in (1, 256):
        with pytest.raises(InputError, match="maps need 2 to 255 classes"):
            MaskFiles(files, files, classes)
    some, none, names = MaskFiles(files, files, 2), MaskFiles((), (), 2), ("background", "cat")
    with pytest.raises(InputError, match="mine: the val split has no images"):
        MaskDataset("mine", some, none, names, voc_palette(), "train", "val")
    with pytest.raises(InputError, match="the train split is of 2 classes, the data set of 3"):
        MaskDataset("mine", some, some, (*names, "dog"), voc_palette(), "train", "val")
    with pytest.raises(InputError, match="a palette has 256 colours, got 2"):
        MaskDataset("mine", some, some, names, voc_palette(2), "train", "val")


def test_a_name_with_dots(tmp_path):
    home = write_voc(tmp_path)
    write_pair(home, "x.1", np.zeros((9, 9), np.uint8), ".jpg")
    write_list(home, "train", ["x.1"])
    assert load(home).train.masks[0].name == "x.1.png"
