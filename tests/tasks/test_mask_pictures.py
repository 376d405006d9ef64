"""Pictures of masks: colours where they belong, labels that read back, nothing half-written."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from checkpoints import InputError
from transfer.tasks.mask_pictures import BORDER, coloured, overlay, palette_png, side_by_side

PALETTE = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
CLASSES = ["background", "aeroplane", "bicycle", "bird"]
LABELS = np.array([[0, 1, 255], [3, 2, 0]], dtype=np.uint8)


def test_labels_have_the_colours_of_the_palette() -> None:
    expected = [[PALETTE[0], PALETTE[1], BORDER], [PALETTE[3], PALETTE[2], PALETTE[0]]]
    assert coloured(LABELS, PALETTE).tolist() == [[list(colour) for colour in row] for row in expected]
    assert (coloured(LABELS.astype(np.int64), PALETTE) == coloured(LABELS, PALETTE)).all()


def test_an_overlay_mixes_by_hand_and_leaves_the_background() -> None:
    image = np.full((2, 3, 3), 100, dtype=np.uint8)
    mixed = overlay(image, LABELS, PALETTE, alpha=0.25)
    assert mixed.dtype == np.uint8
    assert mixed[0, 0].tolist() == [100, 100, 100]
    assert mixed[0, 1].tolist() == [107, 75, 75]  # 0.75 · 100 + 0.25 · (128, 0, 0)
    assert mixed[0, 2].tolist() == [131, 131, 123]  # the border
    assert (image == 100).all()
    assert (overlay(image, LABELS, PALETTE, alpha=0) == image).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_a_palette_png_reads_back_as_its_labels(dtype: type) -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255]), (13, 7)).astype(dtype)
    with Image.open(io.BytesIO(palette_png(labels, PALETTE))) as image:
        assert image.mode == "P"
        assert (np.array(image) == labels).all()
        assert (np.array(image.convert("RGB")) == coloured(labels, PALETTE)).all()


def test_each_map_stands_in_its_column(tmp_path: Path) -> None:
    """Two rows of maps of one label each: the colour in the middle of every cell tells which."""
    photo = np.full((40, 60, 3), (10, 200, 90), dtype=np.uint8)
    plain = [np.full((40, 60), label, dtype=np.uint8) for label in (1, 2, 3, 255)]
    rows = [[photo, plain[0], plain[1], plain[2]], [photo, plain[3], plain[0], plain[0]]]
    side_by_side(rows, tmp_path / "new" / "maps.png", PALETTE, ["image", "truth", "dense", "px"], CLASSES)
    with Image.open(tmp_path / "new" / "maps.png") as image:
        pixels = np.array(image.convert("RGB"))
    height, width = pixels.shape[:2]
    found = [[tuple(pixels[y, int(width * (i + 0.5) / 4)]) for i in range(4)] for y in (height // 4, 3 * height // 5)]
    green = (10, 200, 90)
    assert found == [[green, *PALETTE[1:]], [green, BORDER, PALETTE[1], PALETTE[1]]]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["maps.png"]


def test_images_of_many_sizes_and_no_label_at_all(tmp_path: Path) -> None:
    rows = [[np.zeros((h, w, 3), dtype=np.uint8), np.full((h, w), 255, dtype=np.uint8)] for h, w in ((20, 50), (64, 8))]
    side_by_side(rows, tmp_path / "maps.png", PALETTE, ["image", "truth"], CLASSES)
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    path, titles = tmp_path / "maps.png", ["image", "truth"]
    for labels in (np.full((2, 3), 4, dtype=np.uint8), np.full((2, 3), -1)):
        for draw in (lambda x: coloured(x, PALETTE), lambda x: palette_png(x, PALETTE)):
            with pytest.raises(InputError, match=rf"the label {labels[0, 0]}; the palette has 4 colours"):
                draw(labels)
    with pytest.raises(InputError, match="do not belong together"):
        overlay(image, LABELS[:1], PALETTE)
    with pytest.raises(InputError, match=r"rows of \[1\] parts; give 2"):
        side_by_side([[image]], path, PALETTE, titles, CLASSES)
    with pytest.raises(InputError, match=r"rows of \[\] parts; give 2"):
        side_by_side([], path, PALETTE, titles, CLASSES)
    with pytest.raises(InputError, match="the label 3; there are 2 classes"):
        side_by_side([[image, LABELS]], path, PALETTE, titles, CLASSES[:2])
    assert not path.exists()
