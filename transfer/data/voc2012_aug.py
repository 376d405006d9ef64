"""Pascal VOC 2012 with the masks of SBD (Hariharan 2011): 10,582 training images, val as in VOC 2012."""

from __future__ import annotations

from pathlib import Path

from checkpoints.errors import InputError
from transfer.data.maps import MapDataset
from transfer.data.voc import LISTS, read_voc
from transfer.data.voc2012 import CLASSES, FOLDER, TAR, check_counts

MASKS = "SegmentationClassAug"
TRAIN = ("trainaug.txt", "train_aug.txt")


def load(root: Path) -> MapDataset:
    """Load from ``root/VOCdevkit/VOC2012`` with SegmentationClassAug and its list added by the user.

    Raises InputError when one of them is absent, and as :func:`read_voc` does; nothing is downloaded.
    """
    home = root / FOLDER
    train = next((name for name in TRAIN if (home / LISTS / name).is_file()), None)
    missing = [] if (home / MASKS).is_dir() else [f"the folder {home / MASKS} (SBD's masks as PNG files)"]
    missing += [] if train else [f"the list {home / LISTS / TRAIN[0]} (or {TRAIN[1]}: its 10,582 names, a line each)"]
    if missing or train is None:
        raise InputError(
            f"voc2012-aug: absent: {' and '.join(missing)}; SBD's masks are no part of {TAR.file}: "
            f"unpack that to {home}, then put SegmentationClassAug and its list there"
        )
    check_counts(home / LISTS, train_aug=train, val="val.txt")
    return read_voc("voc2012-aug", home, CLASSES, train_split="train_aug", train_list=train, train_masks=MASKS)
