"""Archives stay in their folder, and nothing grows beyond what it may be."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import EpsImagePlugin
from safetensors.torch import save_file
from torchvision import datasets

import checkpoints
from checkpoints.errors import InputError
from transfer import data
from transfer.data import image_io
from transfer.data.sources import archive, idx, tiny_imagenet
from transfer.data.sources.archive import Archive

from .readers import image, saved
from .readers import tiny_imagenet as tiny_zip
from .tiny_net import ARCH, trained

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def _one_image_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Tiny-ImageNet of these tests has one class and one image a split."""
    monkeypatch.setattr(tiny_imagenet, "COUNTS", {"classes": 1, "train": 1, "val": 1})


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Fail if Python's memory grows by more than this many bytes meanwhile."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size, f"{peak / MEGABYTE:.1f} MiB"


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        checkpoints.load(f"{path}@{ARCH}")
    assert str(caught.value).isprintable()
    assert str(path) in str(caught.value)
    return str(caught.value)


# Tar: CIFAR's, which torchvision unpacks.


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, link, 0o777
    entry.size = 4 if kind == tarfile.REGTYPE else 0
    entry.devmajor, entry.devminor = 1, 3
    return entry


INSIDE = "cifar-10-batches-py"
ESCAPES: dict[str, Callable[[Path], list[tarfile.TarInfo]]] = {
    "parent": lambda _: [member("../escaped")],
    "parent, deeper": lambda _: [member(f"{INSIDE}/../../escaped")],
    "absolute": lambda outside: [member(str(outside / "escaped"))],
    "symlink": lambda outside: [member(INSIDE, tarfile.SYMTYPE, str(outside)), member(f"{INSIDE}/escaped")],
    "symlink to the parent": lambda _: [member("up", tarfile.SYMTYPE, ".."), member("up/escaped")],
    "hard link": lambda outside: [member("link", tarfile.LNKTYPE, str(outside / "secret")), member("link")],
    "device": lambda _: [member("device", tarfile.CHRTYPE)],
    "block device": lambda _: [member("device", tarfile.BLKTYPE)],
    "pipe": lambda _: [member("pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="this Python's tarfile has no filters")
@pytest.mark.parametrize("way", ESCAPES)
def test_a_tar_cannot_leave_its_folder_even_if_its_md5_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    root, outside = tmp_path / "deep" / "data", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir(parents=True)
    (outside / "secret").write_text("secret")
    before = everything(tmp_path)
    put_tar(root, ESCAPES[way](outside), monkeypatch)
    with pytest.raises(InputError, match=r"cifar10: absent from .* or damaged") as caught:
        data.load("cifar10", root=root)
    assert "\n" not in str(caught.value)
    assert (outside / "secret").read_text() == "secret"
    new = {name for name in everything(tmp_path) - before if not name.startswith("deep/data/")}
    assert new == set()
    kinds = [stat.S_IFMT(path.lstat().st_mode) for path in root.rglob("*")]
    assert set(kinds) <= {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
    assert all(path.resolve().is_relative_to(root) for path in root.rglob("*"))


def test_a_tar_with_a_wrong_md5_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_tar(tmp_path, [member("../escaped")], monkeypatch, md5="0" * 32)
    monkeypatch.setattr(tarfile, "open", lambda *_args, **_options: pytest.fail("opened"))
    with pytest.raises(InputError, match="no network"):
        data.load("cifar10", root=tmp_path)


def put_tar(root: Path, members: list[tarfile.TarInfo], monkeypatch: pytest.MonkeyPatch, md5: str = "") -> None:
    path = root / datasets.CIFAR10.filename
    with tarfile.open(path, "w:gz") as made:
        for entry in members:
            made.addfile(entry, io.BytesIO(b"hole") if entry.size else None)

    def offline(*_args: object, **_options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5 or hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", offline)


# Zip: Tiny-ImageNet's, read where it lies.


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "../../../../tmp/escaped", "val/images/../../../escaped"])
def test_a_zip_writes_nothing_whatever_its_names(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    content = io.BytesIO(tiny_zip())
    with zipfile.ZipFile(content, "a") as made:
        made.writestr(name, b"hole")
        link = zipfile.ZipInfo("tiny-imagenet-200/val/images/link.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, str(tmp_path))
    (root / "tiny-imagenet-200.zip").write_bytes(content.getvalue())
    assert len(data.load("tiny-imagenet", root=root).train) == 1
    cache = f"{tiny_imagenet.FOLDER}.uint8.safetensors"
    assert everything(tmp_path) - {f"data/{cache}.lock"} == {"data", "data/tiny-imagenet-200.zip", f"data/{cache}"}


def zip_with(folder: Path, entry: str, content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(path, "w", compression) as made:
        made.writestr(f"tiny-imagenet-200/{entry}", content)
    return path


def test_a_file_in_a_zip_that_declares_too_much_is_refused(tmp_path: Path) -> None:
    path = zip_with(tmp_path, "words.txt", bytes(archive.LARGEST + 1))
    source = Archive(path)
    with at_most(MEGABYTE), pytest.raises(InputError, match=r"words\.txt has 16777217 bytes"):
        source.read("words.txt")


def test_a_file_in_a_zip_that_declares_too_little_is_not_unpacked_further(tmp_path: Path) -> None:
    size = 64 * MEGABYTE
    path = zip_with(tmp_path, "words.txt", bytes(size))
    whole = path.read_bytes()
    assert whole.count(struct.pack("<I", size)) == 2  # in front of the content, and in the list at the end
    path.write_bytes(whole.replace(struct.pack("<I", size), struct.pack("<I", 100)))
    source = Archive(path)
    with at_most(MEGABYTE), pytest.raises(InputError, match=r"words\.txt cannot be read \(Bad CRC"):
        source.read("words.txt")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_without_a_limit_is_refused(tmp_path: Path, compression: int) -> None:
    path = zip_with(tmp_path, "words.txt", b"n01\tgoldfish\n", compression)
    with pytest.raises(InputError, match=rf"compression {compression}, allowed are 16777216, stored or deflated"):
        Archive(path).read("words.txt")


def test_a_file_in_a_zip_that_wants_a_password_is_refused(tmp_path: Path) -> None:
    path = zip_with(tmp_path, "words.txt", b"n01\tgoldfish\n")
    whole = bytearray(path.read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        whole[whole.index(start) + flags] |= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match="encrypted"):
        Archive(path).read("words.txt")


@pytest.mark.parametrize("change", ["keys", "shape", "dtype", "labels"])
def test_a_cache_beside_the_data_is_used_only_if_it_fits(tmp_path: Path, change: str) -> None:
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(tiny_zip())
    sound = data.load("tiny-imagenet", root=tmp_path)
    cache = tmp_path / f"{tiny_imagenet.FOLDER}.uint8.safetensors"
    with tiny_imagenet.safe_open(cache, "pt") as file:
        note, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    bad = {
        "keys": {"other": torch.ones(1)},
        "shape": tensors | {"val_pixels": torch.zeros(1, 3, 64, 32, dtype=torch.uint8)},
        "dtype": tensors | {"val_pixels": torch.zeros(1, 3, 64, 64)},
        "labels": tensors | {"val_labels": torch.tensor([7])},
    }[change]
    save_file(bad, cache, metadata=note)
    again = data.load("tiny-imagenet", root=tmp_path)
    assert torch.equal(again.test.pixels, sound.test.pixels)
    assert torch.equal(again.test.labels, sound.test.labels)


# PyTorch's zip.


def rezipped(content: dict[str, Any], entry: str, *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return torch.save's zip with one file of it compressed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(content))) as old, zipfile.ZipFile(made, "w") as new:
        for old_entry in old.infolist():
            packed = compression if old_entry.filename.endswith(entry) else zipfile.ZIP_STORED
            new.writestr(old_entry.filename, old.read(old_entry), packed)
    return made.getvalue()


@pytest.mark.parametrize("entry", ["data.pkl", "data/0"])
def test_a_weights_file_that_would_grow_is_not_opened_by_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    content = trained().state_dict() | {"bomb": torch.zeros(8 * MEGABYTE), "note": "a" * 8 * MEGABYTE}
    content = {"bomb": content.pop("bomb")} | content  # the first storage
    (tmp_path / "net.pth").write_bytes(rezipped(content, entry))
    monkeypatch.setattr(torch, "load", lambda *_args, **_options: pytest.fail("opened"))
    with at_most(MEGABYTE):
        assert "PyTorch's files are not compressed" in refusal(tmp_path / "net.pth")


def test_a_weights_file_with_a_second_list_of_files_is_refused(tmp_path: Path) -> None:
    whole = saved(trained().state_dict())
    (tmp_path / "net.pth").write_bytes(whole + whole[-22:-2] + struct.pack("<H", 5) + b"other")
    assert "does not end where its list of files does" in refusal(tmp_path / "net.pth")


def test_a_pickle_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    (tmp_path / "net.pth").write_bytes(saved(content))
    assert "no tensors by name" in refusal(tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["sparse", "complex", "meta", "quantized", "float8"])
def test_tensors_whose_values_a_model_would_not_take(tmp_path: Path, kind: str) -> None:
    weight = trained().conv1.weight.detach()
    bad = {
        "sparse": lambda: weight.to_sparse(),
        "complex": lambda: weight.to(torch.complex64),
        "meta": lambda: weight.to("meta"),
        "quantized": lambda: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
        "float8": lambda: weight.to(torch.float8_e4m3fn),
    }[kind]()
    (tmp_path / "net.pth").write_bytes(saved(trained().state_dict() | {"conv1.weight": bad}))
    assert "conv1.weight is no plain tensor" in refusal(tmp_path / "net.pth")


class Bytes:
    """Unpickled, a bytearray of a gigabyte."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (2**30,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bytearray_of_a_gigabyte_in_a_small_file(tmp_path: Path, zipped: bool) -> None:
    (tmp_path / "net.pth").write_bytes(saved({"state_dict": {"weight": Bytes()}}, zipped=zipped))
    with at_most(16 * MEGABYTE):
        assert "net.pth holds a bytearray, only tensors are read" in refusal(tmp_path / "net.pth")


# .safetensors


def safetensors_of(header: object, content: bytes = bytes(64)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def tensor(shape: list[Any], offsets: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff" * 8, (1 << 63).to_bytes(8, "little") + b"{}", (100).to_bytes(8, "little"),
        safetensors_of({"a": tensor([2**32, 2**32], [0, 0])}, b""),
        safetensors_of({"a": tensor([2**62], [0, 2**64 - 1])}),
        safetensors_of({"a": tensor([16], [64, 0])}),
        safetensors_of({"a": tensor([16], [0, 64]), "b": tensor([16], [0, 64])}),
        safetensors_of({"a": tensor([8], [0, 32]), "b": tensor([8], [16, 48])}),
        safetensors_of({"a": tensor([16], [-64, 0])}), safetensors_of({"a": tensor([-16], [0, 64])}),
        safetensors_of({"a": tensor([16], [0, 64], "PICKLE")}), safetensors_of({"a": tensor([1.5], [0, 6])}),
        safetensors_of(b"[" * 100_000), safetensors_of([]), safetensors_of({"__metadata__": {"arch": 1}}),
    ],
)  # fmt: skip
def test_headers_that_lie(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.safetensors").write_bytes(content)
    assert "truncated or no weights file" in refusal(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", "[1, 2]"), ("mean", '["a", "b", "c"]'), ("mean", "[NaN, 0, 0]"), ("mean", f"[1{'0' * 400}, 0, 0]"),
        ("std", "[0, 1, 1]"), ("std", "true"), ("std", "[true, true, true]"), ("std", "1" * 5000),
        ("interpolation", "5"), ("input_size", "[3, 0, 8]"), ("input_size", "[3, 8.5, 8]"), ("input_size", "[" * 5000),
        ("card", "[]"), ("card", '{"name": 5}'), ("card", '{"non_commercial": "no"}'), ("card", '{"licence": [1]}'),
        ("card", "[" * 5000), ("card", '{"other": 1}'), ("card", "null"),
    ],
)  # fmt: skip
def test_metadata_that_make_no_sense(tmp_path: Path, name: str, value: str) -> None:
    save_file(trained().state_dict(), tmp_path / "net.safetensors", metadata={name: value})
    assert "damaged metadata" in refusal(tmp_path / "net.safetensors")


def test_names_in_a_file_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    weights = trained().state_dict() | {
        "layer\x1b[2J\nerror: all is well\u202e": torch.ones(1),
        "x" * 10_000: torch.ones(1),
    }
    save_file(weights, tmp_path / "net.safetensors")
    line = refusal(tmp_path / "net.safetensors")
    assert r"layer\x1b[2J error: all is well\u202e" in line
    assert len(line) <= 2000


# IDX, packed by gzip.


def idx_file(folder: Path, shape: tuple[int, ...], size: int) -> Path:
    path = folder / "images.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape))
        for _ in range(size // MEGABYTE):
            file.write(bytes(MEGABYTE))
    return path


def test_no_more_is_unpacked_than_the_head_says(tmp_path: Path) -> None:
    path = idx_file(tmp_path, (10, 28, 28), 64 * MEGABYTE)
    with at_most(MEGABYTE), pytest.raises(InputError, match="holds more than 7840 bytes of data, its head says 7840"):
        idx.read_idx(path, 3)


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (2**21, 28, 28), (0, 28, 28), (0, 2**32 - 1, 2**32 - 1)])
def test_a_head_that_says_too_much_or_nothing(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = idx_file(tmp_path, shape, MEGABYTE)
    with (
        at_most(MEGABYTE),
        pytest.raises(InputError, match=r"its head says .* bytes of data, allowed are 1 to 1073741824"),
    ):
        idx.read_idx(path, 3)


# Images.


def png(width: int, height: int) -> bytes:
    """Return the head of a PNG that claims this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8193, 10_000, 20_000, 2**31 - 1])
def test_an_image_that_would_fill_the_memory_is_named(tmp_path: Path, side: int) -> None:
    """Pillow says nothing of the first, warns of the second, raises for the others."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side))
    with at_most(MEGABYTE), pytest.raises(InputError, match=r"bomb\.png: ") as caught:
        image_io.decode(path, path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pillow_s_warning_alone_lets_no_bomb_through(tmp_path: Path) -> None:
    with at_most(MEGABYTE), pytest.raises(InputError, match="x: 10000 × 10000 pixels, want 67108864 at most"):
        image_io.decode(png(10_000, 10_000), "x")


def test_postscript_is_not_given_to_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_args, **_options: pytest.fail("started"))
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(%pipe%touch ran) (w) file\n")
    with pytest.raises(InputError, match=r"photo\.jpg: not a readable image"):
        image_io.decode(path, path)


@pytest.mark.parametrize("kind", image_io.FORMATS)
def test_what_data_sets_are_made_of_is_decoded_whatever_its_suffix(tmp_path: Path, kind: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(image(kind))
    assert image_io.decode(tmp_path / "photo.jpg", "photo").size == (64, 64)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match=r"pipe\.jpg cannot be read"):
        Archive(tmp_path).read("pipe.jpg")
    with pytest.raises(InputError, match=r"pipe\.jpg: not a readable image"):
        image_io.decode(tmp_path / "pipe.jpg", "pipe.jpg")
