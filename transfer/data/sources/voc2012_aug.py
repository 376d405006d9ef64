"""Pascal VOC 2012 with the masks of SBD (Hariharan 2011): 10,582 training images, val as in VOC 2012."""

from __future__ import annotations

from pathlib import Path

from checkpoints.download import NotReady
from checkpoints.errors import InputError
from checkpoints.fetch import Source
from transfer.data.dataset import MaskDataset
from transfer.data.sources.voc import LISTS, read_voc
from transfer.data.sources.voc2012 import CLASSES, check_counts, obtained

SBD = Source(
    "benchmark.tgz",
    url="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    md5="82b4d87ceb2ed10f6038a1cba92111cb",
)
MASKS = "SegmentationClassAug"
TRAIN = ("trainaug.txt", "train_aug.txt")


def load(root: Path) -> MaskDataset:
    """Load VOC 2012, obtained as ``voc2012`` does, with SegmentationClassAug and its list in the same folder.

    ``scripts/make_sbd_masks.py`` makes both from SBD, which is not downloaded.

    Raises:
        InputError: the masks or the list are absent, or :func:`obtained` or :func:`read_voc` raises it.
        NotReady: as :func:`obtained` raises it.
    """
    remedy = f"get {SBD.url}, then run: python scripts/make_sbd_masks.py {SBD.file} {root}"
    try:
        home = obtained(root)
    except NotReady as error:
        raise NotReady(f"{error}. Then SBD's masks are to be made: {remedy}") from None
    train = next((name for name in TRAIN if (home / LISTS / name).is_file()), None)
    missing = [] if (home / MASKS).is_dir() else [f"the folder {home / MASKS} (SBD's masks as PNG files)"]
    missing += [] if train else [f"the list {home / LISTS / TRAIN[0]} (or {TRAIN[1]}: its 10,582 names, a line each)"]
    if missing or train is None:
        raise InputError(f"voc2012-aug: absent: {' and '.join(missing)}; {remedy}")
    check_counts(home / LISTS, train_aug=train, val="val.txt")
    return read_voc("voc2012-aug", home, CLASSES, train_split="train_aug", train_list=train, train_masks=MASKS)
