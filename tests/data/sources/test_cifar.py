import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from checkpoints import NotReady, only_looking
from checkpoints.errors import InputError
from transfer import data

KINDS = {"cifar10": (datasets.CIFAR10, "labels", 10), "cifar100": (datasets.CIFAR100, "fine_labels", 100)}


def offline(*_args, **_options):
    raise OSError("no network")


@pytest.fixture(params=KINDS)
def written(request, tmp_path, monkeypatch) -> tuple[str, Path, type]:
    """Write a tiny copy in the original format; torchvision is told its md5 sums and has no network."""
    kind, key, classes = KINDS[request.param]
    folder = tmp_path / kind.base_folder
    folder.mkdir()

    def put(name: str, content: dict) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(name: str, seed: int) -> list[str]:
        pixels = np.random.default_rng(seed).integers(0, 256, (classes, 3072), dtype=np.uint8)
        return [name, put(name, {"data": pixels, key: list(range(classes))})]

    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(kind, listed, [batch(name, i) for i, (name, _) in enumerate(getattr(kind, listed))])
    names = put(kind.meta["filename"], {kind.meta["key"]: [f"class {i}" for i in range(classes)]})
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": names})
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", offline)
    return request.param, tmp_path, kind


def test_the_original_files_are_read(written):
    name, root, kind = written
    loaded = data.load(name, root=root)
    classes = len(loaded.classes)
    assert (len(loaded.train), len(loaded.test)) == (classes * len(kind.train_list), classes)
    assert (loaded.classes[3], loaded.test_split) == ("class 3", "test")
    first = np.random.default_rng(0).integers(0, 256, (classes, 3072), dtype=np.uint8)
    assert (loaded.train.pixels[:classes].reshape(classes, -1).numpy() == first).all()
    assert loaded.test.labels.tolist() == list(range(classes))


def test_the_archive_alone_is_unpacked(written, monkeypatch):
    name, root, kind = written
    with tarfile.open(root / kind.filename, "w:gz") as archive:
        archive.add(root / kind.base_folder, kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5((root / kind.filename).read_bytes()).hexdigest())
    for path in (root / kind.base_folder).iterdir():
        path.unlink()
    assert data.load(name, root=root).classes[0] == "class 0"


def test_a_file_with_a_wrong_md5_is_never_unpickled(written):
    name, root, kind = written
    bad = root / kind.base_folder / kind.test_list[0][0]
    bad.write_bytes(bad.read_bytes() + b" ")
    with pytest.raises(
        InputError, match=rf"{name}: absent from .* or damaged, .*no network.*get https.*{kind.filename}"
    ):
        data.load(name, root=root)


def test_absent_and_offline_is_one_line_and_leaves_nothing(written):
    name, root, _ = written
    with pytest.raises(InputError) as caught:
        data.load(name, root=root / "new")
    assert "\n" not in str(caught.value)
    assert not (root / "new").exists()


def test_who_only_looks_is_told_what_to_put_where(written):
    name, root, kind = written
    with only_looking(), pytest.raises(NotReady) as caught:
        data.load(name, root=root / "new")
    remedy = f"get {kind.url} (md5 {kind.tgz_md5}) and put it, or its folder {kind.base_folder}, in {root / 'new'}"
    assert str(caught.value) == f"{name} is not on this machine; a run downloads it; or {remedy}"
    assert not (root / "new").exists()
