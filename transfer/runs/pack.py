"""A zip of what a report reads of runs, without their weights: to keep, to send, to report on again."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from checkpoints.errors import InputError
from checkpoints.files import whole
from transfer.data.sources import archive as archives
from transfer.runs.gather import LISTS, Gathered
from transfer.runs.run_files import SIZES, TEXTS

_MOST = 2**30  # bytes: a million epochs; a zip that claims more is no work of ours
_NAMES = (*TEXTS, SIZES, *LISTS)


def pack(found: Gathered, path: Path) -> None:
    """Write the small files of all runs that were found, and the sizes of their weights; equal runs give equal bytes.

    Raises:
        InputError: the file cannot be written.
    """
    sizes = {record.folder: (record.dense_bytes, record.sparse_bytes) for record in found.records}
    folders = {folder.name: folder for folder in reversed([*found.lists, *found.runs])}  # the first of equal names
    files = {(name, file): folder / file for name, folder in folders.items() for file in _NAMES}
    try:
        with whole(path) as aside, zipfile.ZipFile(aside, "w") as archive:
            for (folder, name), file in sorted(files.items()):
                if file.is_file():
                    _add(archive, f"{folder}/{name}", file.read_bytes())
                elif name == SIZES and None not in sizes.get(file.parent, (None,)):
                    own = dict(zip(("dense_bytes", "sparse_bytes"), sizes[file.parent], strict=True))
                    _add(archive, f"{folder}/{name}", json.dumps(own).encode())
    except OSError as error:
        raise InputError(f"--pack {path} cannot be written ({error.strerror or error}); give another file") from error


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name)  # a fixed date
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)


@contextmanager
def unpacked(places: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Yield where each place is found: itself, or the folder, gone afterwards, that a zip of runs was unpacked into.

    Raises:
        InputError: a zip is damaged or holds anything but runs.
    """
    with ExitStack() as stack:
        found = {}
        for place in places:
            found[place] = place
            if zipfile.is_zipfile(place):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="px-transfer-")))
                for name, content in _files(place):
                    (folder / name).parent.mkdir(exist_ok=True)
                    (folder / name).write_bytes(content)
                found[place] = folder
        try:
            yield found
        except InputError as error:
            raise InputError(_shown(str(error), found)) from error


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names, FOLDER/FILE, and contents of a zip from anyone; nothing before all names are known to be ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            for entry in entries:
                parts = entry.filename.split("/")
                if len(parts) != 2 or parts[0] in ("", ".", "..") or "\\" in parts[0] or parts[1] not in _NAMES:
                    raise InputError(f"{path} holds {entry.filename!r}; give a zip that transfer report --pack wrote")
            if sum(entry.file_size for entry in entries) > _MOST:
                raise InputError(f"{path} holds more than 1 GiB; give a zip that transfer report --pack wrote")
            for entry in entries:
                yield entry.filename, archives.unpacked(archive, entry)
    except InputError:
        raise
    except archives.DAMAGED as error:
        raise InputError(
            f"{path} is damaged ({error}); pack the runs again: transfer report RUNS --pack FILE"
        ) from error


def renamed(found: Gathered, places: dict[Path, Path]) -> Gathered:
    """Return what was found with the names of the zips in place of the folders that they were unpacked into."""
    zips = {folder: place for place, folder in places.items() if folder != place}
    records = [
        replace(record, folder=zips[record.folder.parent] / record.folder.name)
        if record.folder.parent in zips else record
        for record in found.records
    ]  # fmt: skip
    return replace(
        found,
        records=records,
        faults=[replace(fault, what=_shown(fault.what, places)) for fault in found.faults],
    )


def _shown(text: str, places: dict[Path, Path]) -> str:
    for place, folder in places.items():
        text = text.replace(str(folder), str(place))
    return text
