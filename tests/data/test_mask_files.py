"""Masks are read as they are stored; what cannot be used is named."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints.errors import InputError
from transfer.data.dataset import MaskFiles
from transfer.data.image_io import read_mask, read_pair
from transfer.data.mask_batches import MaskBatches

from .mask_folders import MEAN, STD, blobs, save_mask, write_pair

EVERY = np.array([[*range(21), 255]] * 6, np.uint8)


def grey_png(path: Path, rows: np.ndarray, bits: int) -> None:
    """A grey PNG with so many bits a pixel, which Pillow itself does not write."""
    packed = b"".join(b"\0" + np.packbits(np.unpackbits(r[:, None], axis=1)[:, 8 - bits :]).tobytes() for r in rows)
    head = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(packed)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("kind", ["palette", "grey", "palette of 4 bits"])
def test_the_stored_values_are_the_labels(tmp_path, kind):
    path, labels = tmp_path / "mask.png", EVERY
    if kind == "grey":
        Image.fromarray(labels).save(path)
    elif kind == "palette":
        save_mask(path, labels)
    else:
        labels = labels[:, :16]
        image = Image.fromarray(labels)
        image.putpalette(list(range(48)))
        image.save(path, bits=4)
    assert (read_mask(path, 21).numpy() == labels).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_refused_as_pillow_stretches_it(tmp_path, bits):
    rows = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**bits
    grey_png(tmp_path / "mask.png", rows, bits)
    assert np.array(Image.open(tmp_path / "mask.png")).max() in (1, 255)
    with pytest.raises(InputError, match=r"mask\.png: a mask of mode [L1], want palette or 8-bit grey PNG"):
        read_mask(tmp_path / "mask.png", 21)


def test_the_writer_of_grey_pngs_is_right(tmp_path):
    rows = np.arange(200, dtype=np.uint8).reshape(10, 20)
    grey_png(tmp_path / "mask.png", rows, 8)
    assert (read_mask(tmp_path / "mask.png", 200).numpy() == rows).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "1"])
def test_masks_of_other_modes(tmp_path, mode):
    Image.new(mode, (8, 8)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=rf"mask\.png: a mask of mode {mode}, want palette or 8-bit grey PNG"):
        read_mask(tmp_path / "mask.png", 21)


@pytest.mark.parametrize(("label", "classes"), [(20, 20), (21, 20), (254, 21), (254, 254)])
def test_a_label_outside_the_classes_is_named(tmp_path, label, classes):
    mask = np.zeros((9, 7), np.uint8)
    mask[4, 4], mask[0, 0] = label, 255
    save_mask(tmp_path / "mask.png", mask)
    said = rf"mask\.png: has the label {label}, allowed are 0 to {classes - 1} and 255; fix"
    with pytest.raises(InputError, match=said):
        read_mask(tmp_path / "mask.png", classes)
    assert int(read_mask(tmp_path / "mask.png", label + 1).max()) == 255


@pytest.mark.parametrize("damage", ["truncated", "text", "absent"])
def test_a_mask_that_cannot_be_read(tmp_path, damage):
    path = tmp_path / "mask.png"
    save_mask(path, np.random.default_rng(0).integers(0, 20, (60, 60)).astype(np.uint8))
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1200] if damage == "truncated" else b"no mask")
    with pytest.raises(InputError, match=r"mask\.png: not a readable mask") as caught:
        read_mask(path, 21)
    assert "\n" not in str(caught.value)


def test_a_mask_that_declares_too_many_pixels(tmp_path):
    grey_png(tmp_path / "mask.png", np.zeros((1, 1), np.uint8), 8)
    content = bytearray((tmp_path / "mask.png").read_bytes())
    content[16:24] = struct.pack(">II", 9_000, 9_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "mask.png").write_bytes(content)
    with pytest.raises(InputError, match=r"mask\.png: 9000 × 9000 pixels, want 67108864 at most"):
        read_mask(tmp_path / "mask.png", 2)


def test_a_jpeg_is_no_mask(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "mask.png", "JPEG")
    with pytest.raises(InputError, match=r"mask\.png: not a readable mask"):
        read_mask(tmp_path / "mask.png", 2)


def test_image_and_mask_of_two_sizes(tmp_path):
    write_pair(tmp_path, "a", blobs(12, 20, [0, 1], 0))
    mask = tmp_path / "SegmentationClass/a.png"
    save_mask(mask, blobs(20, 12, [0, 1], 0))
    said = r"a\.png: has 12 × 20 pixels, its image .*JPEGImages/a\.png has 20 × 12; make them equal"
    with pytest.raises(InputError, match=said):
        read_pair(tmp_path / "JPEGImages/a.png", mask, 2)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("bad", ["image", "mask"])
def test_while_walking_a_bad_file_is_one_line(tmp_path, workers, bad):
    mask = blobs(64, 64, [0, 1], 0)
    for name in "ab":
        write_pair(tmp_path, name, mask, ".jpg")
    images, masks = (tuple(sorted((tmp_path / f).iterdir())) for f in ("JPEGImages", "SegmentationClass"))
    split = MaskFiles(images, masks, 2)
    if bad == "image":
        images[1].write_bytes(images[1].read_bytes()[:700])
        said = r"b\.jpg: not a readable image \(image file is truncated"
    else:
        save_mask(masks[1], np.full_like(mask, 9))
        said = r"b\.png: has the label 9"
    walk = MaskBatches(split, crop=32, batch=1, mean=MEAN, std=STD, protocol="center", workers=workers)
    found: list[torch.Tensor] = []
    with pytest.raises(InputError, match=said) as caught:
        found.extend(inputs for inputs, _ in walk)
    assert len(found) == 1
    assert "\n" not in str(caught.value)
