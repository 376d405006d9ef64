"""Small folders in VOC layout, and images painted from their masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from transfer.data.dataset import MaskFiles, voc_palette

Bytes = NDArray[np.uint8]
MEAN, STD = (0.48, 0.45, 0.4), (0.2, 0.25, 0.3)
COLOURS = np.random.default_rng(7).integers(0, 256, (256, 3)).astype(np.uint8)  # of labels: far apart by chance


def blobs(height: int, width: int, labels: Sequence[int], seed: int) -> Bytes:
    """A mask of rectangles, every pixel one of ``labels``."""
    random = np.random.default_rng(seed)
    mask = np.full((height, width), labels[0], np.uint8)
    for _ in range(6):
        top, left = random.integers(height), random.integers(width)
        mask[top : top + height // 2, left : left + width // 2] = random.choice(labels)
    return mask


def save_mask(path: Path, mask: Bytes) -> None:
    """Write a palette PNG as VOC's are."""
    image = Image.fromarray(mask)
    image.putpalette([value for colour in voc_palette() for value in colour])
    image.save(path)


def write_pair(home: Path, name: str, mask: Bytes, suffix: str = ".png") -> None:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(COLOURS[mask]).save(home / f"JPEGImages/{name}{suffix}")
    save_mask(home / f"SegmentationClass/{name}.png", mask)


def write_list(home: Path, split: str, names: Sequence[str]) -> Path:
    path = home / f"ImageSets/Segmentation/{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def write_voc(home: Path, train: int = 4, val: int = 3, classes: int = 4, suffix: str = ".jpg") -> Path:
    """Write a whole folder: images a, b, c … of different sizes."""
    names = [chr(ord("a") + i) for i in range(train + val)]
    for i, name in enumerate(names):
        write_pair(home, name, blobs(20 + 3 * i, 31 - 2 * i, [*range(classes), 255], seed=i), suffix)
    write_list(home, "train", names[:train])
    write_list(home, "val", names[train:])
    (home / "classes.txt").write_text("".join(f"class {i}\n" for i in range(classes)))
    return home


def pairs(home: Path, masks: Sequence[Bytes], classes: int) -> MaskFiles:
    """Write images painted from ``masks`` without loss."""
    names = [f"{i:03d}" for i in range(len(masks))]
    for name, mask in zip(names, masks, strict=True):
        write_pair(home, name, mask)
    images, files = (tuple(home / f"{folder}/{n}.png" for n in names) for folder in ("JPEGImages", "SegmentationClass"))
    return MaskFiles(images, files, classes)


def pixels(inputs: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation: 0 to 255."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return (inputs * std + mean) * 255
