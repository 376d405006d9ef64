"""Render segmentation masks: side by side, over the image, and as palette PNGs of Pascal VOC."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from checkpoints.errors import InputError
from checkpoints.files import write_whole
from transfer.data.dataset import IGNORE

Palette = Sequence[Sequence[int]]  # RGB per class, 0 to 255
Pixels = NDArray[np.uint8]

BORDER = (224, 224, 192)  # Pascal VOC's colour for unlabelled pixels
CELL = 1.9  # inches


def side_by_side(
    rows: Sequence[Sequence[NDArray[Any]]], path: Path, palette: Palette, titles: Sequence[str], classes: Sequence[str]
) -> None:
    """Draw one row per image: the image, the ground truth and one mask per model, with a legend of the classes present.

    Args:
        rows: per image, its pixels (H, W, 3), uint8, and its masks (H, W); 255 = no label.
        path: path of the PNG.
        palette: one colour per class.
        titles: column titles, one per element of a row.
        classes: class names.

    Raises:
        InputError: there are no rows, a row and the titles differ in length, or a label has no class or colour.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not rows or any(len(row) != len(titles) for row in rows):
        raise InputError(f"rows of {sorted({len(row) for row in rows})} parts; give {len(titles)}, one per title")
    found = sorted({int(label) for row in rows for labels in row[1:] for label in np.unique(labels)} - {IGNORE})
    if found and found[-1] >= len(classes):
        raise InputError(f"a map has the label {found[-1]}; there are {len(classes)} classes")
    heights = [row[0].shape[0] / row[0].shape[1] for row in rows]
    columns = max(1, min(len(found), int(1.5 * len(titles))))
    lines = 1 + len(found) // columns
    size = (CELL * len(titles), CELL * sum(heights) + 0.3 + 0.25 * lines)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(titles), squeeze=False, height_ratios=heights)
    for row, cells in zip(rows, grid, strict=True):
        cells[0].imshow(row[0])
        for labels, cell in zip(row[1:], cells[1:], strict=True):
            cell.imshow(coloured(labels, palette), interpolation="nearest")
        for cell in cells:
            cell.set_axis_off()
    for title, cell in zip(titles, grid[0], strict=True):
        cell.set_title(title, fontsize=9)
    colours = _colours(palette) / 255
    patches = [Patch(facecolor=colours[k], edgecolor="#555555", label=classes[k]) for k in found]
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_whole(path, buffer.getvalue())


def coloured(labels: NDArray[Any], palette: Palette) -> Pixels:
    """Return the colours (H, W, 3) of labels (H, W); 255 is off-white, as in Pascal VOC.

    Raises:
        InputError: a label has no colour.
    """
    missing = labels[(labels != IGNORE) & ((labels < 0) | (labels >= len(palette)))]
    if missing.size:
        raise InputError(f"a map has the label {missing[0]}; the palette has {len(palette)} colours")
    return _colours(palette)[labels]


def overlay(image: NDArray[Any], labels: NDArray[Any], palette: Palette, alpha: float = 0.5) -> Pixels:
    """Blend the colours of labels (H, W) over an image (H, W, 3), uint8; black, VOC's background, is transparent.

    ``alpha`` in [0, 1] is the weight of the colours.

    Raises:
        InputError: the sizes differ, or a label has no colour.
    """
    if image.shape != (*labels.shape, 3):
        raise InputError(f"an image of {image.shape} and labels of {labels.shape} do not belong together")
    colours = coloured(labels, palette)
    mixed = np.rint((1 - alpha) * image + alpha * colours).astype(np.uint8)
    return np.where(colours.any(2, keepdims=True), mixed, image).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    """Encode an image (H, W, 3) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def palette_png(labels: NDArray[Any], palette: Palette) -> bytes:
    """Encode labels (H, W) as a palette PNG that reads back as the labels: ``np.array(Image.open(...))``.

    Raises:
        InputError: a label has no colour.
    """
    coloured(labels, palette)
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(_colours(palette).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _colours(palette: Palette) -> Pixels:
    """Return 256 colours: the palette's, padded with black, and the border's at 255."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(palette)] = palette
    colours[IGNORE] = BORDER
    return colours
