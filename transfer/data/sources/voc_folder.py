"""Any folder in the layout of Pascal VOC with its own class list: ``classes.txt``, one name per line."""

from __future__ import annotations

from pathlib import Path

from checkpoints.errors import InputError
from transfer.data.dataset import IGNORE, MaskDataset
from transfer.data.sources.voc import IMAGES, LISTS, MASKS, read_text, read_voc

CLASSES = "classes.txt"
LAYOUT = f"want <path>/{IMAGES}, <path>/{MASKS}, <path>/{LISTS}/train.txt and val.txt, <path>/{CLASSES}"


def load(path: str) -> MaskDataset:
    """Load a folder; line i of ``classes.txt`` (from 0 = background) names label i.

    Raises:
        InputError: the folder is absent, the list of classes is absent or unusable, or :func:`read_voc` raises it.
    """
    if not path:
        raise InputError(f"voc-folder: no path given; {LAYOUT}")
    home = Path(path).expanduser()
    if not home.is_dir():
        raise InputError(f"voc-folder: {home} is no folder; {LAYOUT}")
    return read_voc(f"voc-folder:{path}", home, read_classes(home / CLASSES))


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names of the classes, 2 to 255.

    Raises:
        InputError: the list is absent, has an empty line or repeats a name.
    """
    if not path.is_file():
        raise InputError(f"{path}: absent; write the name of each class on a line, background first")
    names = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not 2 <= len(names) <= IGNORE:
        raise InputError(f"{path}: names {len(names)} classes, allowed are 2 to {IGNORE}, one a line, background first")
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            what = f"repeats {name!r}" if name else "is empty"
            raise InputError(f"{path}: line {number + 1} {what}; want one name of a class on each line")
    return tuple(names)
