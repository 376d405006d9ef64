"""A pickle that does something when it is read does nothing here, whatever file it is in."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import datasets

import checkpoints
from checkpoints.errors import InputError
from checkpoints.files import read_json
from transfer import data
from transfer.data.sources import fashion_mnist
from transfer.errors import RunError
from transfer.pruning.masks import Masks
from transfer.recipe import Recipe
from transfer.training.checkpoint import State, load_weights

from .readers import STATE, saved
from .tiny_net import ARCH, trained

ROOT = Path(checkpoints.__file__).parent.parent


class Payload:
    """Unpickled, it makes a file or folder at ``path``."""

    def __init__(self, way: str, path: Path) -> None:
        self.way, self.path = way, str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return {
            "os": (os.mkdir, (self.path,)),
            "path": (Path.touch, (Path(self.path),)),
            "exec": (exec, (f"__import__('os').mkdir({self.path!r})",)),
            "torch": (torch.save, (1, self.path)),
        }[self.way]


WAYS = ("os", "path", "exec", "torch")


def zip_of(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"archive/{name.replace('__', '.')}", content)
    return made.getvalue()


def torchscript(bad: object) -> bytes:
    code = pickle.dumps(bad, protocol=2)
    return zip_of(data__pkl=code, constants__pkl=code, version=b"3\n", byteorder=b"little")


def oldest(bad: object) -> bytes:
    """PyTorch's format before 0.1.10: a tar of pickles."""
    made, code = io.BytesIO(), pickle.dumps(bad, protocol=2)
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.size = len(code)
            archive.addfile(entry, io.BytesIO(code))
    return made.getvalue()


def within(bad: object) -> dict[str, Any]:
    """Sound weights with the payload beside them."""
    return {"state_dict": trained().state_dict(), "optimizer": bad}


WRITERS: dict[str, Callable[[object], bytes]] = {
    "zip": lambda bad: saved(within(bad)),
    "legacy": lambda bad: saved(within(bad), zipped=False),
    "zip, as a key": lambda bad: saved({bad: 1}),
    "bare pickle": lambda bad: pickle.dumps(within(bad)),
    "bare pickle, oldest protocol": lambda bad: pickle.dumps(bad, protocol=0),
    "pickle behind PyTorch's number": lambda bad: pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(bad, 2),
    "TorchScript": torchscript,
    "tar": oldest,
    "safetensors length before it": lambda bad: (8).to_bytes(8, "little") + pickle.dumps(bad),
    "state": lambda bad: saved(STATE | {"epochs": bad}),
    "state, legacy": lambda bad: saved(STATE | {"epochs": bad}, zipped=False),
}

READERS: dict[str, Callable[[Path], object]] = {
    **{
        f"net{suffix}": lambda path: checkpoints.load(f"{path}@{ARCH}")
        for suffix in (".pth", ".pth.tar", ".pt", ".bin", ".ckpt", ".safetensors")
    },
    "masks.safetensors": Masks.load,
    "model.safetensors": lambda path: load_weights(trained(), path),
    "recipe.json": lambda path: Recipe.from_dict(read_json(path)),
    "state.pt": lambda path: State(path.parent).load(),
    "state.previous.pt": lambda path: State(path.parent).load(),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_payload_works_where_pickles_are_trusted(tmp_path: Path, way: str) -> None:
    pickle.loads(pickle.dumps(Payload(way, tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("file", READERS)
def test_no_payload_runs(tmp_path: Path, file: str, writer: str, way: str) -> None:
    made, path = tmp_path / "ran", tmp_path / file
    path.write_bytes(WRITERS[writer](Payload(way, made)))
    with pytest.raises((InputError, RunError)) as caught:
        READERS[file](path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not made.exists()


@pytest.mark.parametrize("content", [b"\x80\x02K\x01Q.", b"\x80\x02(dp0\nS'a'\nc__main__\nx\n.", b"\x80\x04\x95."])
def test_the_line_never_advises_to_load_a_file_with_its_code(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pth").write_bytes(zip_of(data__pkl=content, version=b"3\n", byteorder=b"little"))
    with pytest.raises(InputError) as caught:
        READERS["net.pth"](tmp_path / "net.pth")
    assert "Re-running" not in str(caught.value)
    assert "weights_only=" not in str(caught.value)


def test_no_payload_runs_where_the_user_has_turned_pytorch_s_care_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for file in ("net.pth", "state.pt"):
        path, made = tmp_path / file, tmp_path / f"{file} ran"
        path.write_bytes(saved(STATE | {"epochs": Payload("os", made)}))
        with pytest.raises((InputError, RunError)):
            READERS[file](path)
        assert not made.exists()


@pytest.mark.parametrize("kind", [datasets.CIFAR10, datasets.CIFAR100])
@pytest.mark.parametrize("place", ["train", "test", "meta"])
def test_a_cifar_batch_is_unpickled_only_if_its_md5_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, place: str
) -> None:
    """CIFAR is distributed as pickles. All files are sound by their md5 but one, which has a payload."""
    folder, made = tmp_path / kind.base_folder, tmp_path / "ran"
    folder.mkdir()
    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(kind, listed, [[name, cifar_file(folder / name)] for name, _ in getattr(kind, listed)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": cifar_file(folder / kind.meta["filename"])})
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", offline)
    bad = {"train": kind.train_list[0][0], "test": kind.test_list[0][0], "meta": kind.meta["filename"]}[place]
    (folder / bad).write_bytes(pickle.dumps(Payload("os", made)))
    with pytest.raises(InputError, match=r"absent from .* or damaged"):
        data.load("cifar10" if kind is datasets.CIFAR10 else "cifar100", root=tmp_path)
    assert not made.exists()


def cifar_file(path: Path) -> str:
    import numpy as np

    images = {"data": np.zeros((10, 3072), dtype=np.uint8), "labels": list(range(10))}
    path.write_bytes(
        pickle.dumps({**images, "label_names": list("abcdefghij"), "fine_label_names": list("abcdefghij")})
    )
    return hashlib.md5(path.read_bytes()).hexdigest()


def offline(*_args: object, **_options: object) -> None:
    raise OSError("no network")


def test_torchvision_s_older_copies_of_fashion_mnist_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "SYSTEM", tmp_path / "none")
    folder = tmp_path / "FashionMNIST/processed"
    folder.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        (folder / name).write_bytes(saved(Payload("os", tmp_path / "ran")))
    with pytest.raises(InputError, match=r"fashion-mnist: absent .* or damaged"):
        data.load("fashion-mnist", root=tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["__import__('os').mkdir('ran')", "!!python/object/apply:os.mkdir ['ran']", "${ran}"])
def test_text_is_never_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.json"
    for content in ({"name": text, "seed": text}, {text: 1}, {"name": "a", "data": text}):
        path.write_text(json.dumps(content))
        with pytest.raises(InputError):
            Recipe.from_dict(read_json(path))
    path.write_text(text)
    with pytest.raises(InputError, match="is not JSON"):
        read_json(path)
    assert not (tmp_path / "ran").exists()


FORBIDDEN = {
    "eval",
    "exec",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "marshal.loads",
    "dill.load",
    "joblib.load",
}
FORBIDDEN |= {"os.system", "yaml.load", "torch.jit.load", "torch.hub.load", "torch.hub.load_state_dict_from_url"}


@pytest.mark.parametrize("room", ["transfer", "checkpoints", "recipes", "scripts"])
def test_no_call_that_could_run_a_file_s_code(room: str) -> None:
    files = [(path, ast.parse(path.read_text("utf-8"))) for path in (ROOT / room).rglob("*.py")]
    calls = [(path, node) for path, tree in files for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert calls
    for path, call in calls:
        name, options = ast.unparse(call.func), {option.arg: ast.unparse(option.value) for option in call.keywords}
        where = f"{path}:{call.lineno}: {name}"
        assert name not in FORBIDDEN, where
        assert not name.endswith((".extractall", ".unpack_archive")), where
        assert name != "torch.load" or options.get("weights_only") == "True", where
        assert options.get("allow_pickle", "False") == "False", where
        assert options.get("shell", "False") == "False", where
