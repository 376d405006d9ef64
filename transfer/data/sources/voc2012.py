"""Pascal VOC 2012 (Everingham 2010), segmentation: 1,464 + 1,449 images, 20 classes and background."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from checkpoints.download import by_hand, download, may_download, may_make
from checkpoints.errors import InputError
from checkpoints.fetch import Source, check
from transfer.data.dataset import MaskDataset
from transfer.data.sources.download import unpack
from transfer.data.sources.voc import IMAGES, LISTS, listed, read_voc

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
TAR = Source(
    "VOCtrainval_11-May-2012.tar",
    url="https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    md5="6cd6e144f989b92b3379bac3b3de84fd",
)
FOLDER = "VOCdevkit/VOC2012"
COUNTS = {"train": 1_464, "val": 1_449, "train_aug": 10_582}


def load(root: Path) -> MaskDataset:
    """Load from ``root/VOCdevkit/VOC2012``, else from the tar in ``root``, else download the tar (2 GB).

    Raises:
        InputError: none of these works, the tar has another md5, or :func:`read_voc` refuses the folder.
    """
    home = obtained(root)
    check_counts(home / LISTS, train="train.txt", val="val.txt")
    return read_voc("voc2012", home, CLASSES)


def check_counts(folder: Path, **lists: str) -> None:
    """Check that each list, given as split=file, has VOC 2012's number of names.

    Raises:
        InputError: a list has another number of names.
    """
    for split, file in lists.items():
        check_count(folder / file, split, len(listed(folder / file)))


def check_count(source: Path, split: str, got: int) -> None:
    """Check that ``source`` lists as many names (``got``) as VOC 2012 has in a split.

    Raises:
        InputError: the numbers differ.
    """
    if got != COUNTS[split]:
        raise InputError(
            f"{source}: lists {got} images, {split} of VOC 2012 has {COUNTS[split]}; "
            "get the original list, or read your own with voc-folder:<path>"
        )


def obtained(root: Path) -> Path:
    """Return the folder VOC2012; the first process that finds it absent unpacks it from the tar.

    Raises:
        InputError: there is neither a folder nor a tar, and no download.
        NotReady: the tar would have to be downloaded or unpacked, within ``only_looking``.
    """
    home = root / FOLDER
    if (home / IMAGES).is_dir():
        return home
    if home.exists():
        raise InputError(
            f"{home}: has no folder {IMAGES}; put all of VOC 2012 there, or move it away to unpack {TAR.file}"
        )
    if (root / TAR.file).exists():
        may_make(f"{root / TAR.file} is not unpacked; a run unpacks it to {home}")
    else:
        may_download(TAR.url, by_hand(root / TAR.file))
    new = not root.exists()
    lock = root / ".voc2012.lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not home.exists():
                unpack(_tar(root / TAR.file), FOLDER, home)
    except OSError as error:
        raise InputError(f"voc2012: cannot write {root} ({error.strerror or error}); set TRANSFER_DATA") from None
    finally:
        if not home.exists():  # leave no trace of what did not work
            with suppress(OSError):
                lock.unlink()
                if new:
                    root.rmdir()
    return home


def _tar(path: Path) -> Path:
    """Return the tar that the user has, or download it; its md5 is checked."""
    if path.exists():
        check(path, TAR)
    else:
        try:
            download(TAR.url, path, lambda part: check(part, TAR))
        finally:
            Path(f"{path}.lock").unlink(missing_ok=True)
    return path
