"""Files that cannot be used are met when a data set is read: before any work, by their headers alone."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from checkpoints.errors import InputError
from transfer import data
from transfer.data import image_io
from transfer.data.dataset import MaskFiles
from transfer.data.image_io import check_pair, check_pairs, read_pair

from .mask_folders import write_voc

DAMAGES = {
    "mask in RGB": ("mask", r"b\.png: a mask of mode RGB, want palette or 8-bit grey PNG"),
    "mask of 16 bits": ("mask", r"b\.png: a mask of mode I;16, want palette"),
    "mask is a JPEG": ("mask", r"b\.png: not a readable mask"),
    "mask of another size": ("mask", r"b\.png: has 8 × 9 pixels, its image .*b\.jpg has 29 × 23; make them equal"),
    "mask is text": ("mask", r"b\.png: not a readable mask"),
    "image of 16 bits": ("image", r"b\.jpg: pixels of mode I;16, want 8 bits per channel"),
    "image is text": ("image", r"b\.jpg: not a readable image"),
    "image is empty": ("image", r"b\.jpg: not a readable image"),
}


def damage(kind: str, image: Path, mask: Path) -> None:
    if "text" in kind or "empty" in kind:
        (mask if "mask" in kind else image).write_bytes(b"no picture" if "text" in kind else b"")
    elif kind == "image of 16 bits":
        Image.fromarray(np.full((23, 29), 60_000, np.uint16)).save(image, "PNG")
    elif kind == "mask is a JPEG":
        Image.new("L", (29, 23)).save(mask, "JPEG")
    elif kind == "mask of another size":
        Image.new("L", (8, 9)).save(mask)
    else:
        Image.new("RGB" if "RGB" in kind else "I;16", (29, 23)).save(mask)


@pytest.fixture
def never_decoded(monkeypatch) -> None:
    """Pillow decodes nothing from here on."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _self: pytest.fail("decoded"))


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_pair_is_named_when_the_data_set_is_read(tmp_path, kind):
    home = write_voc(tmp_path)
    image, mask = home / "JPEGImages/b.jpg", home / "SegmentationClass/b.png"
    damage(kind, image, mask)
    with pytest.raises(InputError) as caught:
        data.load(f"voc-folder:{home}")
    assert re.search(DAMAGES[kind][1], str(caught.value))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError) as decoder:
        read_pair(image, mask, 4)
    assert str(decoder.value) == str(caught.value)


def test_a_bad_file_of_val_is_named_too(tmp_path):
    home = write_voc(tmp_path)
    (home / "JPEGImages/g.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"JPEGImages/g\.jpg: not a readable image"):
        data.load(f"voc-folder:{home}")


def test_sound_headers_are_read_without_decoding(tmp_path, never_decoded):
    assert len(data.load(f"voc-folder:{write_voc(tmp_path)}").train) == 4


def test_the_first_of_several_bad_files_is_named_whichever_is_met_first(tmp_path, monkeypatch):
    home = write_voc(tmp_path, train=12, val=2)
    split = data.load(f"voc-folder:{home}").train
    for path in (split.masks[10], split.images[5], split.images[9]):
        path.write_bytes(b"no picture")
    assert str(split.images[5]) == str(home / "JPEGImages/f.jpg")
    for readers in (1, 3, 16):
        monkeypatch.setattr(image_io, "READERS", readers)
        with pytest.raises(InputError, match=r"JPEGImages/f\.jpg: not a readable image"):
            check_pairs(split)
    check_pairs(MaskFiles(split.images[:5], split.masks[:5], 4))


def test_truncated_pixels_and_labels_are_left_to_the_decoder(tmp_path):
    home = write_voc(tmp_path, classes=4)
    image, mask = home / "JPEGImages/b.jpg", home / "SegmentationClass/b.png"
    check_pair(image, mask)
    with pytest.raises(InputError, match=r"b\.png: has the label 3, allowed are 0 to 2"):
        read_pair(image, mask, 3)
    image.write_bytes(image.read_bytes()[:-60])
    check_pair(image, mask)
    with pytest.raises(InputError, match=r"b\.jpg: not a readable image \(image file is truncated"):
        read_pair(image, mask, 4)
