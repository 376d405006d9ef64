"""A small real-image data set in VOC layout that needs no network: handwritten digits on photographs.

scikit-learn's digits, magnified, tinted and pasted on crops of its two photos; their strokes are the masks,
with a border of 255 around them as VOC has. The bytes are the same each time; train and val share no digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from checkpoints.errors import InputError
from checkpoints.files import cache_folder, whole
from transfer.data.dataset import IGNORE, MaskDataset, voc_palette
from transfer.data.sources.voc import IMAGES, LISTS, MASKS, read_voc
from transfer.data.sources.voc_folder import CLASSES

NAMES = ("background", *(str(digit) for digit in range(10)))
COUNTS = {"train": 240, "val": 80}
SIDES = (64, 104)  # pixels, smallest and largest
MAGNIFIED = (3.2, 4.2)  # times, of 8 pixels
TOP = 16  # the brightest value of the 8 × 8 digits
STROKE = 0.5  # ink from here on is the digit
BORDER = 3  # side of the square that a stroke is widened by to make its border: 1 pixel on each side
CONTRAST = 280  # least difference of a digit's colour from what is behind it, summed over three channels of 255
TRIES = 40  # places tried for a digit before the image does without it
VERSION = 1  # of the content: a new one gets a new folder
ABOUT = """A sample in the layout of Pascal VOC, made by px-transfer from files that scikit-learn ships:
the handwritten digits of Alpaydin and Kaynak (UCI Machine Learning Repository, CC BY 4.0), and two photos,
both Creative Commons Attribution 2.0: china.jpg by danielbuechele (flickr.com/photos/danielbuechele/6061409035)
and flower.jpg by vultilion (flickr.com/photos/vultilion/6056698931). Crops, tints and masks are changes.
"""

Ink = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """The material of the images: photos, uint8 (H, W, 3), and digits (8, 8) from 0 to 1 with their classes."""

    photos: list[Bytes]
    digits: Ink
    labels: NDArray[np.int64]


def load(root: Path) -> MaskDataset:
    """Load the sample, made on first use (seconds) in the user's cache folder; ``root`` is not used.

    The folder is in $TRANSFER_HOME, else in the platform's cache folder.

    Raises:
        InputError: the folder cannot be written.
    """
    home = cached()
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        if not home.exists():
            with FileLock(f"{home}.lock"):
                if not home.exists():  # another process may just have made it
                    write(home)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"voc-sample: cannot write {home} ({reason}); set TRANSFER_HOME to another folder") from None
    return read_voc("voc-sample", home, NAMES)


def cached() -> Path:
    """Return the folder where ``load`` keeps the sample."""
    return cache_folder() / f"voc-sample-{VERSION}"


def write(folder: Path) -> None:
    """Write the sample to a temporary folder beside ``folder``, then rename it.

    Raises:
        InputError: ``folder`` exists and is not an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; name another")
    with whole(folder) as aside:
        for name in (IMAGES, MASKS, LISTS):
            (aside / name).mkdir(parents=True)
        for split in COUNTS:
            _write_split(aside, split)
        lists = [(aside / LISTS / f"{split}.txt").read_text() for split in COUNTS]
        (aside / LISTS / "trainval.txt").write_text("".join(lists))
        (aside / CLASSES).write_text("\n".join(NAMES) + "\n")
        (aside / "README.txt").write_text(ABOUT)


def _write_split(folder: Path, split: str) -> None:
    names = []
    for number, (image, mask) in enumerate(samples(split)):
        name = f"{split}_{number:06d}"
        (folder / IMAGES / f"{name}.jpg").write_bytes(_encoded(image, "JPEG", quality=92))
        (folder / MASKS / f"{name}.png").write_bytes(_encoded(mask, "PNG", optimize=True))
        names.append(name)
    (folder / LISTS / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def samples(split: str) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Yield the RGB image and the palette mask of each sample of a split, "train" or "val"."""
    random = np.random.default_rng([VERSION, *split.encode()])
    source = _source(split)
    fresh = iter(random.permutation(len(source.labels)).tolist())  # a digit is used once
    colours = [value for colour in voc_palette() for value in colour]
    for _ in range(COUNTS[split]):
        height, width = random.integers(SIDES[0], SIDES[1] + 1, 2).tolist()
        canvas = _background(source.photos, height, width, random)
        labels = np.zeros((height, width), np.uint8)
        for _ in range(int(random.integers(1, 5, 2).max())):  # 1 to 4, rather more than fewer
            digit = next(fresh)
            _paste(canvas, labels, source.digits[digit], 1 + int(source.labels[digit]), random)
        mask = Image.fromarray(labels)
        mask.putpalette(colours)
        yield Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8)), mask


def _source(split: str) -> Source:
    """Return both photos and the digits of a split; with the digits sorted by class, every fifth is for val."""
    from sklearn.datasets import load_digits, load_sample_images

    digits = load_digits()
    held = np.zeros(len(digits.target), bool)
    held[np.argsort(digits.target, kind="stable")[::5]] = True
    chosen = held if split == "val" else ~held
    ink = (digits.images / TOP).astype(np.float32)
    return Source(load_sample_images().images, ink[chosen], digits.target[chosen])


def _background(photos: list[Bytes], height: int, width: int, random: np.random.Generator) -> Ink:
    """Return a random crop of a photo, shrunk by 1 to 2.5, mirrored or not: float32 (H, W, 3), 0 to 255."""
    photo = Image.fromarray(photos[int(random.integers(len(photos)))])
    zoom = random.uniform(1, 2.5)
    wide, high = round(width * zoom), round(height * zoom)
    left, top = (int(random.integers(full - side + 1)) for full, side in zip(photo.size, (wide, high), strict=True))
    crop = photo.crop((left, top, left + wide, top + high)).resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.array(crop, np.float32)
    return pixels[:, ::-1].copy() if random.random() < 0.5 else pixels


def _paste(canvas: Ink, labels: Bytes, digit: Ink, label: int, random: np.random.Generator) -> None:
    """Paint a digit where neither its stroke nor its border meets another's; labels get stroke and border."""
    ink = _magnified(digit, random.uniform(*MAGNIFIED))
    stroke = ink >= STROKE
    wide = np.array(Image.fromarray(stroke.astype(np.uint8)).filter(ImageFilter.MaxFilter(BORDER))) > 0
    for _ in range(TRIES):
        top, left = (int(random.integers(full - side + 1)) for full, side in zip(labels.shape, ink.shape, strict=True))
        here = slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1])
        if not (labels[here] > 0)[wide].any():
            shades = _shades(len(ink), canvas[here][stroke].mean(0), random)
            alpha = np.clip((ink - STROKE + 0.2) / 0.2, 0, 1)[..., None]
            canvas[here] += alpha * (shades - canvas[here])
            labels[here][wide] = np.where(stroke, label, IGNORE)[wide]
            return


def _magnified(digit: Ink, times: float) -> Ink:
    """Return the ink of a digit, smooth, cut to its stroke with a margin for the border: float32 (h, w)."""
    room = np.pad(digit, 2)
    side = round(len(room) * times)
    ink = np.array(Image.fromarray(room).resize((side, side), Image.Resampling.BICUBIC))
    rows, columns = (np.flatnonzero((ink >= STROKE).any(axis)) for axis in (1, 0))
    margin = BORDER // 2
    return ink[rows[0] - margin : rows[-1] + margin + 1, columns[0] - margin : columns[-1] + margin + 1]


def _shades(height: int, behind: Ink, random: np.random.Generator) -> Ink:
    """Return a colour that stands out from the one ``behind``, lighter above than below: float32 (h, 1, 3)."""
    colour = random.uniform(0, 255, 3)
    while np.abs(colour - behind).sum() < CONTRAST:
        colour = random.uniform(0, 255, 3)
    light = np.linspace(1.15, 0.85, height)[:, None, None]
    return (colour * light).clip(0, 255).astype(np.float32)
