"""Find or download the file of a source, and check its size and hash; nothing is downloaded twice."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import installed
from .download import by_hand, download, may_download, may_make
from .errors import InputError
from .files import cache_folder


@dataclass(frozen=True)
class Source:
    """Where a file can be obtained, and how to recognise it.

    ``file`` is its name in the user folder. ``sha256`` and ``md5`` are hex, whole or the first digits; empty when not
    known. ``url`` and ``hub`` (a Hugging Face id) may both be empty: then the file cannot be downloaded. It may be
    ``package_file`` in an installed ``package`` instead, which the ``extra`` of this project installs; ``page`` is a
    web page about that.
    """

    file: str
    url: str = ""
    hub: str = ""
    hub_files: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    sha256: str = ""
    md5: str = ""
    bytes: int | None = None
    package: str = ""
    package_file: str = ""
    extra: str = ""
    page: str = ""

    def address(self) -> str | None:
        """Return the address that a person would open to get the file, or to read about it; None when there is none."""
        if self.hub:
            from huggingface_hub import hf_hub_url

            return hf_hub_url(self.hub, self.hub_files[0])
        return self.url or self.page or None

    def remedy(self, target: Path) -> str:
        """Return what a user can do to have the file where ``find`` looks, ``target`` in the user folder."""
        return installed.remedy(self.extra, target) if self.package else by_hand(target)


def home(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the user folder of weights: ``root``, else $TRANSFER_HOME, else the platform's cache folder."""
    return Path(root).expanduser() if root else cache_folder("checkpoints")


def find(source: Source, root: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the file if this machine has it: in the user folder, a package or the hub's cache; else None."""
    kept = home(root) / source.file
    if kept.exists():
        return kept
    if source.package:
        return installed.find(source.package, source.package_file)
    if not source.hub:
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = (try_to_load_from_cache(source.hub, name) for name in source.hub_files)
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def obtain(source: Source, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the file; download it when this machine does not have it. A file that was there is not checked.

    Raises:
        InputError: there is no network (the line says which file to put where), the folder cannot be written, or
            what arrives is not the expected file.
        NotReady: the file would have to be downloaded, within ``only_looking``.
    """
    found = find(source, root)
    if found is not None:
        return found
    target, address = home(root) / source.file, source.address()
    if source.package:
        line = f"{source.file} is not on this machine, and no run downloads it: {source.remedy(target)}"
        may_make(line)
        raise InputError(line)
    if address is None:
        raise InputError(f"{target} is not there, and it is not for download")
    may_download(address, by_hand(target))
    if source.hub:
        return _from_hub(source, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        download(source.url, target, lambda part: check(part, source))
    except OSError as error:
        remedy = "set TRANSFER_HOME to a folder that you can write"
        raise InputError(f"cannot write {target}: {error}; {remedy}") from None
    return target


def _from_hub(source: Source, target: Path) -> Path:
    """Download through huggingface_hub into its own cache, which timm and open_clip share."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reason: Exception | None = None
    for name in source.hub_files:
        try:
            with _quiet_retries():
                return Path(hf_hub_download(source.hub, name))
        except LocalEntryNotFoundError as error:
            reason = error.__cause__ if isinstance(error.__cause__, Exception) else error
            break
        except EntryNotFoundError as error:
            reason = error
        except Exception as error:  # of requests or httpx, by the hub's version: they share no base
            reason = error
            break
    why = " ".join(str(reason).split())
    raise InputError(f"cannot download {source.address()} ({why}); {by_hand(target)}") from None


@contextmanager
def _quiet_retries() -> Iterator[None]:
    """Hide the hub's warning about each retry: a download that fails for good becomes one error line."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def check(path: Path, source: Source) -> str:
    """Return the file's whole SHA-256 after comparing size and hash with what is known of them.

    Raises:
        InputError: the path is a folder, or the size (of a truncated file) or the hash is wrong.
    """
    if not path.is_file():
        state = "a folder" if path.is_dir() else "not there"
        raise InputError(f"{path} is {state}; expected the file {source.file}")
    remedy = f"delete {path} and get it again{_whence(path, source)}"
    size = path.stat().st_size
    if source.bytes is not None and size != source.bytes:
        raise InputError(f"{source.file} has {size} bytes, expected {source.bytes}; {remedy}")
    known = _known(path, source)
    got = digests(path, *known)
    for kind, digits in known.items():
        if not got[kind].startswith(digits):
            raise InputError(f"{source.file} has {kind} {got[kind]}, expected {digits}; {remedy}")
    return got["sha256"]


def _whence(path: Path, source: Source) -> str:
    if source.package and path == installed.find(source.package, source.package_file):
        return f": pip install --force-reinstall {source.package.replace('_', '-')}"
    return f" from {source.address() or 'where it came from'}"


def measure(path: Path, source: Source) -> str:
    """Return what ``check`` compares: "sha256", "md5 (first 8 digits)", "size only" or "nothing"."""
    whole = {"sha256": 64, "md5": 32}
    for kind, digits in _known(path, source).items():
        return kind if len(digits) == whole[kind] else f"{kind} (first {len(digits)} digits)"
    return "nothing" if source.bytes is None else "size only"


def _known(path: Path, source: Source) -> dict[str, str]:
    known = {"sha256": source.sha256 or _hub_sha256(path), "md5": source.md5}
    return {kind: digits for kind, digits in known.items() if digits}


def digests(path: Path, *more: str) -> dict[str, str]:
    """Return the SHA-256 of a file, and what other hashes are asked for, in one reading."""
    sums = {kind: hashlib.new(kind, usedforsecurity=False) for kind in ("sha256", *more)}
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            for total in sums.values():
                total.update(block)
    return {kind: total.hexdigest() for kind, total in sums.items()}


def _hub_sha256(path: Path) -> str:
    """Return the hash that the hub states: its cache names large files by their SHA-256."""
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else ""
