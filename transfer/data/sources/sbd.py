"""The masks of SBD (Hariharan 2011) as VOC's palette PNGs, for the images of VOC 2012 that are not in its val."""

from __future__ import annotations

import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from checkpoints.errors import InputError
from checkpoints.fetch import check
from checkpoints.files import whole, write_whole
from transfer.data.dataset import voc_palette
from transfer.data.image_io import check_sizes, opened_image, upright_size
from transfer.data.sources.download import members
from transfer.data.sources.voc import IMAGES, LISTS, listed, names_in
from transfer.data.sources.voc import MASKS as OWN
from transfer.data.sources.voc2012 import CLASSES, FOLDER, check_count, check_counts
from transfer.data.sources.voc2012_aug import MASKS, SBD, TRAIN

SPLITS = ("train.txt", "val.txt")
LARGEST = 1 << 20  # bytes of a .mat file, which usually has some kB; zlib expands it by 1,032 at most
DEFLATED = 1032  # the largest factor by which zlib compresses
INSIDE = (".", "dataset", "benchmark_RELEASE/dataset")  # where cls and the two lists may be in a folder


def write_masks(source: Path, place: Path) -> Path:
    """Write SegmentationClassAug and ImageSets/Segmentation/trainaug.txt into VOC 2012; return that folder of masks.

    ``source``: SBD's benchmark.tgz, or a folder unpacked from it. ``place``: the folder VOC2012, or the one that
    holds VOCdevkit/VOC2012. The list names SBD's train and val and VOC's train, without VOC's val; masks of VOC's
    train are VOC's own. The folder of masks appears whole, at the end.

    Raises:
        InputError: ``source`` or ``place`` is absent, damaged or not the original, or the masks are there already or
            cannot be written.
    """
    home = _voc_home(place)
    check_counts(home / LISTS, train="train.txt", val="val.txt")
    target = home / MASKS
    if target.exists():
        raise InputError(f"{target} is there already; move it away to make it anew")
    try:
        with whole(target) as aside:
            aside.mkdir()
            names = _fill(aside, source, home)
            write_whole(home / LISTS / TRAIN[0], "".join(f"{name}\n" for name in names))
    except OSError as error:
        raise InputError(f"cannot make {target} ({error})") from None
    return target


def _voc_home(place: Path) -> Path:
    home = next((folder for folder in (place, place / FOLDER) if (folder / IMAGES).is_dir()), None)
    if home is None:
        raise InputError(f"{place}: neither {IMAGES} nor {FOLDER}/{IMAGES} is in it; unpack VOC 2012 there first")
    return home


def _fill(folder: Path, source: Path, home: Path) -> list[str]:
    """Write all masks and nothing else into ``folder``; return their names, sorted."""
    own, val = (set(listed(home / LISTS / name)) for name in SPLITS)
    named, made = set(own), set(own)
    for name in own:
        shutil.copyfile(home / OWN / f"{name}.png", folder / f"{name}.png")
    for file, content in _files(source):
        name = Path(file).stem
        if file in SPLITS:
            named |= set(names_in(content.decode("utf-8-sig", errors="replace"), source / file))
        elif name not in own | val and (home / IMAGES / f"{name}.jpg").is_file():
            _write_mask(folder / f"{name}.png", content, source / file, home / IMAGES / f"{name}.jpg")
            made.add(name)
    named -= val
    check_count(source, "train_aug", len(named))
    if named - made:
        name = min(named - made)
        raise InputError(f"{name} is listed, but {source} has no cls/{name}.mat or {home} no {IMAGES}/{name}.jpg")
    for name in made - named:
        (folder / f"{name}.png").unlink()
    return sorted(named)


def _write_mask(path: Path, content: bytes, name: Path, image: Path) -> None:
    labels = read_labels(content, name)
    with opened_image(image, image) as photo:
        check_sizes(image, upright_size(photo), name, (labels.shape[0], labels.shape[1]))
    mask = Image.fromarray(labels)
    mask.putpalette([value for colour in voc_palette() for value in colour])
    mask.save(path)


def read_labels(content: bytes, name: Path) -> NDArray[np.uint8]:
    """Return the labels in a .mat of SBD's folder cls, uint8 (H, W), 0 to 20; ``name`` is for errors.

    Raises:
        InputError: the file has more than LARGEST bytes, is damaged, or has other content.
    """
    from scipy.io import loadmat

    if len(content) > LARGEST:
        raise InputError(f"{name}: has more than {LARGEST} bytes, a mask of SBD has some thousand; get the original")
    try:
        labels = loadmat(BytesIO(content), variable_names=["GTcls"])["GTcls"][0]["Segmentation"][0]
    except Exception as error:  # a reader that meets a damaged file raises anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{name}: no GTcls.Segmentation can be read ({reason}); get the original") from None
    if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.ndim != 2 or not labels.size:
        kind = f"{getattr(labels, 'dtype', type(labels).__name__)} {getattr(labels, 'shape', '')}"
        raise InputError(f"{name}: GTcls.Segmentation is {kind}, want uint8 (height, width); get the original")
    if int(labels.max()) >= len(CLASSES):
        raise InputError(f"{name}: has the label {labels.max()}, allowed are 0 to {len(CLASSES) - 1}; get the original")
    return np.ascontiguousarray(labels)


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield "train.txt", "val.txt" and each "cls/<name>.mat" with its content, in any order; shows the progress."""
    yield from _of_folder(source) if source.is_dir() else _of_tgz(source)


def _of_folder(source: Path) -> Iterator[tuple[str, bytes]]:
    home = next((source / inside for inside in INSIDE if (source / inside / "cls").is_dir()), None)
    if home is None:
        raise InputError(f"{source}: has no folder dataset/cls; give SBD's {SBD.file} ({SBD.url}) or its folder")
    files = [*SPLITS, *(f"cls/{path.name}" for path in sorted((home / "cls").glob("*.mat")))]
    quiet = not sys.stderr.isatty()
    for file in track(files, f"reading {source.name}", console=Console(stderr=True), disable=quiet):
        with (home / file).open("rb") as content:
            yield file, content.read(LARGEST + 1)


def _of_tgz(source: Path) -> Iterator[tuple[str, bytes]]:
    check(source, SBD)
    try:
        with tarfile.open(source, "r|gz") as tar:
            for member in members(source, tar, DEFLATED * source.stat().st_size):
                file = member.name.partition("dataset/")[2]
                content = tar.extractfile(member)
                if content is not None and (file in SPLITS or (file.startswith("cls/") and file.endswith(".mat"))):
                    yield file, content.read(LARGEST + 1)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{source}: not a whole tgz ({reason}); delete it and get it again") from None
