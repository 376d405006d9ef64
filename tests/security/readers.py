"""Every reader of files from outside: a sound file, where it is damaged, how it is read, what must hold then.

Many formats check sums, so that damage to the whole file seldom reaches the code behind them. Those have a second
entry, which damages the part inside (the pickle of a zip, the header of a .safetensors) and packs it soundly again.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import checkpoints
import transfer
from checkpoints.backbone import Backbone, Card
from checkpoints.files import read_json
from checkpoints.sparse import table
from tests.checkpoints.sparse_weights import pruned
from transfer.data.image_io import decode, read_mask
from transfer.data.sources.archive import Archive
from transfer.data.sources.download import unpack
from transfer.data.sources.idx import read_idx
from transfer.data.sources.tiny_imagenet import SIDE, decoded, read_index
from transfer.pruning.masks import Masks
from transfer.recipe import Recipe
from transfer.training.checkpoint import KEYS, State, load_weights, save_weights

from .mutations import mutate, mutate_values
from .tiny_net import ARCH, LOOK, trained


@dataclass(frozen=True)
class Reader:
    """``file``: its name; ``sound``: what ``damage`` changes; ``pack``: makes a file of that; ``read``: reads it."""

    file: str
    sound: bytes
    read: Callable[[Path], object]
    pack: Callable[[bytes], bytes] = bytes
    damage: Callable[[bytes, random.Random], bytes] = mutate

    def write(self, folder: Path, content: bytes) -> Path:
        path = folder / self.file
        path.write_bytes(self.pack(content))
        return path


def readers(folder: Path) -> Iterator[tuple[str, Reader]]:
    """Yield every reader by name; ``folder`` is scratch space."""
    yield from _weights(folder)
    yield from _sparse(folder)
    yield from _run_files(folder)
    yield from _data()


def _weights(folder: Path) -> Iterator[tuple[str, Reader]]:
    net = trained().state_dict()
    moco = {f"module.encoder_{part}.{key}": value for part in "qk" for key, value in net.items()}
    moco = {
        "epoch": 200,
        "arch": ARCH,
        "state_dict": moco | {"module.queue": torch.ones(2, 3)},
        "optimizer": {"state": {}},
    }
    for name, content in (("net.pth", net), ("moco.pth.tar", moco)):
        zipped, legacy = saved(content), saved(content, zipped=False)
        yield f"{name} zip", Reader(name, zipped, _load)
        yield (
            f"{name} zip, its pickle",
            Reader(name, _pickle_of(zipped), _load, lambda part, whole=zipped: _put_pickle(whole, part)),
        )
        yield f"{name} legacy", Reader(name, legacy, _load)
    trunk = {key: value for key, value in net.items() if not key.startswith("fc.")}
    card = Card("tiny", licence="MIT", paper="none", notes="a note")
    whole = checkpoints.save(
        Backbone(arch=ARCH, state_dict=trunk, card=card, **LOOK), folder / "b.safetensors"
    ).read_bytes()
    yield "backbone.safetensors", Reader("backbone.safetensors", whole, _load_described)
    yield from _headers("backbone.safetensors", whole, _load_described)


def _sparse(folder: Path) -> Iterator[tuple[str, Reader]]:
    """Yield readers of a sparse file that is damaged as a whole, or in a part, with checksums that are right again."""
    name = "w.sparse"
    whole = transfer.save_sparse(SPARSE, folder / name, metadata={"note": "of a test"}).read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    rows = header["__metadata__"][table.ROWS_KEY].encode()

    def pack(text: bytes, content: bytes = whole[end:]) -> bytes:
        unsigned = text.replace(header["__metadata__"][table.CRC_KEY].encode(), table.UNKNOWN.encode())
        return table.signed(len(unsigned).to_bytes(8, "little") + unsigned + content)

    def pack_rows(text: bytes, content: bytes = whole[end:]) -> bytes:
        metadata = header["__metadata__"] | {table.ROWS_KEY: text.decode("latin-1")}
        return pack(json.dumps(header | {"__metadata__": metadata}, separators=(",", ":")).encode(), content)

    def pack_content(content: bytes) -> bytes:
        content = content[: len(whole) - end].ljust(len(whole) - end, b"\0")
        changed = json.loads(rows)
        for each, row in changed.items():
            parts = table.entries(each) if "places" in row else (each,)
            row["crc32"] = zlib.crc32(b"".join(content[slice(*header[part]["data_offsets"])] for part in parts))
        return pack_rows(json.dumps(changed).encode(), content)

    yield name, Reader(name, whole, _load_sparse)
    yield f"{name}, its header", Reader(name, whole[8:end], _load_sparse, pack)
    yield f"{name}, its rows", Reader(name, rows, _load_sparse, pack_rows)
    yield f"{name}, its rows' values", Reader(name, rows, _load_sparse, pack_rows, mutate_values)
    yield f"{name}, its entries", Reader(name, whole[end:], _load_sparse, pack_content)


def _run_files(folder: Path) -> Iterator[tuple[str, Reader]]:
    source = torch.Generator().manual_seed(0)
    shapes = {"conv1.weight": (4, 3, 3, 3), "fc.weight": (2, 4)}
    masks = Masks({name: torch.rand(shape, generator=source) > 0.5 for name, shape in shapes.items()})
    masks.save(folder / "m.safetensors")
    whole = (folder / "m.safetensors").read_bytes()
    yield "masks.safetensors", Reader("masks.safetensors", whole, _masks)
    yield from _headers("masks.safetensors", whole, _masks)
    recipe = json.dumps(Recipe(name="fuzz").to_dict(), indent=2, sort_keys=True).encode()
    yield "recipe.json", Reader("recipe.json", recipe, _recipe)
    yield "recipe.json, its values", Reader("recipe.json", recipe, _recipe, damage=mutate_values)
    state = saved(STATE)
    yield "state.pt", Reader("state.pt", state, _state)
    yield "state.pt, its pickle", Reader("state.pt", _pickle_of(state), _state, lambda part: _put_pickle(state, part))
    save_weights(trained(), folder / "w.safetensors")
    yield "model.safetensors", Reader("model.safetensors", (folder / "w.safetensors").read_bytes(), _model_weights)


def _data() -> Iterator[tuple[str, Reader]]:
    idx = bytes((0, 0, 8, 3)) + struct.pack(">3I", 4, 5, 6) + bytes(range(120))
    yield "images.idx", Reader("images.idx", idx, _idx)
    yield "images.idx.gz", Reader("images.idx.gz", _gzipped(idx), _idx)
    yield "images.idx.gz, inside", Reader("images.idx.gz", idx, _idx, _gzipped)
    name = "tiny-imagenet-200.zip"
    yield name, Reader(name, tiny_imagenet(), _tiny_imagenet)
    yield "folder.tar", Reader("folder.tar", tar(), _tar)
    yield "mask.png", Reader("mask.png", mask(), _mask)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP"):
        yield f"image.{kind}", Reader(f"image.{kind}", image(kind), _image)


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def _entry(name: str) -> zipfile.ZipInfo:
    """Return an entry of a zip without the time of day, so that the same seed damages the same bytes."""
    return zipfile.ZipInfo(name)


def saved(content: Any, *, zipped: bool = True) -> bytes:
    """Return the bytes of torch.save."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _pickle_of(whole: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return archive.read("archive/data.pkl")


def _put_pickle(whole: bytes, part: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            content = part if entry.filename == "archive/data.pkl" else old.read(entry)
            new.writestr(_entry(entry.filename), content)
    return made.getvalue()


def _headers(name: str, whole: bytes, read: Callable[[Path], object]) -> Iterator[tuple[str, Reader]]:
    """Yield readers of a .safetensors whose header is damaged, in its text, its metadata's text, or its values."""
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])

    def pack(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text + whole[end:]

    def pack_metadata(text: bytes) -> bytes:
        lines = dict(line.partition(": ")[::2] for line in text.decode("latin-1").split("\n"))
        return pack(json.dumps(header | {"__metadata__": lines}).encode())

    metadata = "\n".join(f"{key}: {value}" for key, value in header["__metadata__"].items()).encode()
    yield f"{name}, its header", Reader(name, whole[8:end], read, pack)
    yield f"{name}, its header's values", Reader(name, whole[8:end], read, pack, mutate_values)
    yield f"{name}, its metadata", Reader(name, metadata, read, pack_metadata)


def image(kind: str, side: int = SIDE) -> bytes:
    """Return a small image file."""
    pixels = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(file, kind)
    return file.getvalue()


def mask() -> bytes:
    """Return a palette PNG whose indices are labels."""
    file = io.BytesIO()
    made = Image.new("P", (8, 8))
    made.putpalette(range(30))
    made.putdata([number % 3 for number in range(64)])
    made.save(file, "PNG")
    return file.getvalue()


def tar() -> bytes:
    """Return a tar of the folder ``in``, with a long name and a header of extended attributes."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in {
            "in/list.txt": b"a\n",
            "in/images/a.jpg": image("JPEG"),
            f"in/{'x' * 120}é": b"b",
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def tiny_imagenet() -> bytes:
    """Return Tiny-ImageNet with one class, one training and one validation image."""
    files = {
        "wnids.txt": b"n01\n", "words.txt": b"n01\tgoldfish\n", "train/n01/images/n01_0.JPEG": image("JPEG"),
        "val/val_annotations.txt": b"val_0.JPEG\tn01\t0\t0\t1\t1\n", "val/images/val_0.JPEG": image("JPEG"),
    }  # fmt: skip
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(_entry(f"tiny-imagenet-200/{name}"), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


STATE: dict[str, Any] = dict.fromkeys(sorted(KEYS), 1) | {
    "model": trained().state_dict(), "epochs": [{"epoch": 1, "train_loss": 1.5}],
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
}  # fmt: skip
SPARSE = {"bits": pruned((40, 40), 0.5), "gaps": pruned((60, 100), 0.98), "bn": torch.ones(4)}
TRUNK = trained(0).state_dict()


def _load_sparse(path: Path) -> None:
    for value in transfer.load_sparse(path).values():
        assert type(value) is torch.Tensor
        assert value.is_contiguous()
        assert value.nbytes <= (1 << 28) + 1024 * path.stat().st_size


def _load(path: Path) -> None:
    _assert_backbone(checkpoints.load(f"{path}@{ARCH}"))


def _load_described(path: Path) -> None:
    _assert_backbone(checkpoints.load(path))


def _assert_backbone(backbone: Backbone) -> None:
    if backbone.arch == ARCH:
        assert backbone.state_dict.keys() == TRUNK.keys()
        assert all(value.shape == TRUNK[key].shape for key, value in backbone.state_dict.items())
        assert all(value.dtype == TRUNK[key].dtype for key, value in backbone.state_dict.items())
    assert all(type(value) is torch.Tensor and value.is_contiguous() for value in backbone.state_dict.values())
    assert all(value.device.type == "cpu" for value in backbone.state_dict.values())
    assert len(backbone.digest()) == 64
    assert all(type(number) in (int, float) and math.isfinite(number) for number in (*backbone.mean, *backbone.std))
    assert min(backbone.std) > 0
    assert isinstance(backbone.interpolation, str)
    assert len(backbone.input_size) == 3
    assert all(type(side) is int and side > 0 for side in backbone.input_size)
    assert isinstance(backbone.card.name, str)
    assert isinstance(backbone.card.non_commercial, bool)
    assert backbone.card.licence is None or isinstance(backbone.card.licence, str)


def _masks(path: Path) -> None:
    masks = Masks.load(path)
    assert all(isinstance(name, str) and mask.dtype == torch.bool for name, mask in masks.items())
    assert len(masks.layers()) == len(masks)
    assert 0 <= masks.kept <= masks.total
    assert 0 <= masks.density <= 1
    assert len(masks.digest()) == 64


def _recipe(path: Path) -> None:
    recipe = Recipe.from_dict(read_json(path))
    assert isinstance(recipe.name, str)
    recipe.check()
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def _state(path: Path) -> None:
    content = State(path.parent).load()
    assert content is not None
    assert content.keys() >= STATE.keys()


def _model_weights(path: Path) -> None:
    model: nn.Module = trained()
    load_weights(model, path)
    assert all(value.device.type == "cpu" for value in model.state_dict().values())


def _idx(path: Path) -> None:
    pixels = read_idx(path, 3)
    assert pixels.dtype == torch.uint8
    assert pixels.dim() == 3


def _tiny_imagenet(path: Path) -> None:
    index = read_index(Archive(path))
    tensors = decoded(Archive(path), index)
    assert all(0 <= label < len(index.classes) for label in tensors["train_labels"].tolist())
    assert tuple(tensors["train_pixels"].shape) == (len(index.train), 3, SIDE, SIDE)


def _tar(path: Path) -> None:
    outer = path.parent / "outer"
    before = {*path.parent.iterdir(), outer}
    try:
        unpack(path, "in", outer / "inner" / "target")
        found = list(outer.rglob("*"))
        assert set(outer.iterdir()) == {outer / "inner"}
        assert all(made.is_dir() or made.is_file() for made in found)
        assert not any(made.is_symlink() for made in found)
        assert sum(made.stat().st_size for made in found if made.is_file()) <= path.stat().st_size
    finally:
        assert {*path.parent.iterdir(), outer} == before
        shutil.rmtree(outer, ignore_errors=True)


def _mask(path: Path) -> None:
    labels = read_mask(path, 3)
    assert labels.dtype == torch.uint8
    assert labels.dim() == 2
    assert set(labels.unique().tolist()) <= {0, 1, 2, 255}


def _image(path: Path) -> None:
    assert decode(path, path).mode == "RGB"
