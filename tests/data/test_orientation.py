"""Cameras store a photo as the sensor lay and say in EXIF how it is upright: that is how it is seen everywhere."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from checkpoints import InputError
from transfer.data.image_io import ORIENTATION, check_pair, decode, opened_image, read_pair, upright_size

SCENE = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6) * 10  # 4 high, 6 wide
OPTIONS = {".webp": {"lossless": True}, ".tiff": {"compression": "tiff_lzw"}}
FORMATS = ["png", "tiff", "webp", "jpg"]


def photo(path: Path, orientation: int, pixels: np.ndarray = SCENE) -> Path:
    """Write an image that a viewer shows as ``pixels``; all 8 orientations undo themselves or each other."""
    stored, exif = Image.fromarray(pixels), Image.Exif()
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    exif[ORIENTATION] = undo
    stored.info["exif"] = exif.tobytes()
    stored.getexif()[ORIENTATION] = undo
    stored = ImageOps.exif_transpose(stored)
    exif[ORIENTATION] = orientation
    stored.save(path, exif=exif.tobytes(), **OPTIONS.get(path.suffix, {}))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_is_seen_as_viewers_show_it(tmp_path: Path, kind: str, orientation: int) -> None:
    path = photo(tmp_path / f"a.{kind}", orientation)
    seen = np.asarray(decode(path, path))[:, :, 0].astype(int)
    assert np.abs(seen - SCENE).max() <= (60 if kind == "jpg" else 0)
    with opened_image(path, path) as image:
        assert upright_size(image) == (4, 6)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_mask_that_was_drawn_on_the_displayed_photo_fits(tmp_path: Path, orientation: int) -> None:
    labels = (SCENE > 100).astype(np.uint8)
    image = photo(tmp_path / "a.png", orientation)
    Image.fromarray(labels).save(tmp_path / "m.png")
    check_pair(image, tmp_path / "m.png")
    pixels, read = read_pair(image, tmp_path / "m.png", 2)
    assert (pixels[0].numpy() == SCENE).all()
    assert (read.numpy() == labels).all()


def test_a_png_that_says_it_after_its_pixels_is_turned_too(tmp_path: Path) -> None:
    image, content = tmp_path / "a.png", photo(tmp_path / "b.png", 6).read_bytes()
    start = content.index(b"eXIf") - 4
    size = 12 + int.from_bytes(content[start : start + 4], "big")
    exif, end = content[start : start + size], content.index(b"IEND") - 4
    image.write_bytes(content[:start] + content[start + size : end] + exif + content[end:])
    assert (np.asarray(decode(image, image))[:, :, 0] == SCENE).all()
    Image.fromarray((SCENE > 100).astype(np.uint8)).save(tmp_path / "m.png")
    check_pair(image, tmp_path / "m.png")
    read_pair(image, tmp_path / "m.png", 2)


def test_a_mask_of_the_stored_form_is_refused_by_its_header(tmp_path: Path) -> None:
    image = photo(tmp_path / "a.png", 6)
    Image.fromarray(np.zeros((6, 4), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"has 4 × 6 pixels, its image .* has 6 × 4"):
        check_pair(image, tmp_path / "m.png")


def test_a_file_that_pillow_would_mix_up_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(SCENE).save(tmp_path / "a.tiff", exif=exif.tobytes())
    with pytest.raises(InputError, match=r"a.tiff: not a readable image \(a turned TIFF without compression"):
        decode(tmp_path / "a.tiff", tmp_path / "a.tiff")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own, on opening
@pytest.mark.parametrize("damage", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"rubbish"])
def test_damaged_metadata_do_not_make_an_image_unreadable(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(SCENE).save(path, exif=damage)
    assert decode(path, path).size == (6, 4)
