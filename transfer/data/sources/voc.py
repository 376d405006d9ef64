"""The layout of Pascal VOC: images, palette masks, and lists of the names in each split.

JPEGImages/<name>.jpg (or .jpeg, .png)
SegmentationClass/<name>.png
ImageSets/Segmentation/<split>.txt        one name per line
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path, PurePosixPath

from checkpoints.errors import InputError
from transfer.data.dataset import MaskDataset, MaskFiles, voc_palette
from transfer.data.image_io import check_pairs

IMAGES, MASKS, LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
SUFFIXES = (".jpg", ".jpeg", ".png")


def read_voc(
    name: str,
    home: Path,
    classes: tuple[str, ...],
    *,
    train_split: str = "train",
    train_list: str = "train.txt",
    train_masks: str = MASKS,
) -> MaskDataset:
    """Read the training split and ``val`` of a folder in VOC layout, and the headers of all files they list.

    The batches decode the pixels.

    Raises:
        InputError: a folder or list is absent, a list is empty, a name is twice in a list or in both lists (mIoU must
            not be measured on training images), a name has no image or no mask, or :func:`check_pairs` refuses a
            pair.
    """
    images = _by_stem(home / IMAGES, SUFFIXES)
    lists = (home / LISTS / train_list, home / LISTS / "val.txt")
    train, val = map(listed, lists)
    shared = set(train).intersection(val)
    if shared:
        raise InputError(f"{lists[0]}: {min(shared)} stands in {lists[1].name} too, as do {len(shared)} in all; remove")
    splits = (
        _paired(lists[0], train, images, _by_stem(home / train_masks, (".png",)), home / train_masks, len(classes)),
        _paired(lists[1], val, images, _by_stem(home / MASKS, (".png",)), home / MASKS, len(classes)),
    )
    for split in splits:
        check_pairs(split)
    return MaskDataset(name, *splits, classes, voc_palette(), train_split, "val")


def listed(path: Path) -> list[str]:
    """Return the names in a list with one name per line, or with two paths per line as in the lists for SBD's masks.

    Raises:
        InputError: the list is absent or empty, or names a file twice or outside its folder.
    """
    return names_in(read_text(path), path)


def names_in(text: str, path: Path) -> list[str]:
    """Return the names in the text of a list, as :func:`listed` does; ``path`` is where it stands, for errors."""
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    if not lines:
        raise InputError(f"{path}: lists no images; put a name on each line")
    names = [PurePosixPath(line.split()[0]).stem if line.startswith(f"/{IMAGES}/") else line for line in lines]
    wrong = next((name for name in names if "/" in name or "\\" in name), None)
    if wrong is not None:
        raise InputError(f"{path}: {wrong!r} is no name of an image; list names without folders")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise InputError(f"{path}: lists {name} {times} times; keep one")
    return names


def read_text(path: Path) -> str:
    """Return the text of a small file.

    Raises:
        InputError: it is absent or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{path}: cannot be read ({reason}); want the layout of Pascal VOC") from None


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Return the files of a folder by their name without suffix."""
    found: dict[str, list[Path]] = {}
    try:
        entries = sorted(entry.name for entry in os.scandir(folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); want the layout of Pascal VOC") from None
    for entry in entries:
        path = folder / entry
        if path.suffix.lower() in suffixes:
            found.setdefault(path.stem, []).append(path)
    return found


def _paired(
    source: Path,
    names: list[str],
    images: dict[str, list[Path]],
    masks: dict[str, list[Path]],
    mask_folder: Path,
    classes: int,
) -> MaskFiles:
    """Return the image and the mask of each name."""
    for name in names:
        image, mask = images.get(name, []), masks.get(name, [])
        if len(image) > 1:
            raise InputError(f"{image[0]}: {image[1].name} has the same name; remove one")
        if not image or not mask:
            here = f"mask {mask[0]} has no image {IMAGES}/{name}.jpg" if mask else ""
            here = here or (f"image {image[0]} has no mask {mask_folder.name}/{name}.png" if image else "")
            here = here or f"{name} has neither image nor mask"
            raise InputError(f"{here}, but {source} lists it; add the file or remove the line")
    return MaskFiles(tuple(images[n][0] for n in names), tuple(masks[n][0] for n in names), classes)
