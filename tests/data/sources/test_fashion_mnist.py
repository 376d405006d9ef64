import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from checkpoints.errors import InputError
from transfer import data
from transfer.data.sources import fashion_mnist

SIZES = {"train": 20, "t10k": 10}


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder: Path, *, zipped: bool = True, side: int = 28) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for part, count in SIZES.items():
        pixels = random.integers(0, 256, (count, side, side), dtype=np.uint8)
        for kind, array in (("images-idx3", pixels), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            content = idx(array)
            name = f"{part}-{kind}-ubyte"
            (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)


@pytest.fixture(autouse=True)
def _no_system_files_and_no_network(tmp_path, monkeypatch):
    def offline(*_args, **_options):
        raise OSError("no network")

    monkeypatch.setattr(fashion_mnist, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["nowhere/"])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", [".", "fashion-mnist", "FashionMNIST/raw", "system"])
def test_each_layout_gives_the_same_images(tmp_path, place, zipped):
    write(tmp_path / place, zipped=zipped)
    fashion = data.load("fashion-mnist", root=tmp_path)
    assert fashion.train.pixels.shape == (20, 3, 32, 32)
    expected = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    assert (fashion.train.pixels[:, 1, 2:-2, 2:-2].numpy() == expected).all()
    assert int(fashion.train.pixels[:, :, :2].max()) == 0
    assert fashion.test.labels.tolist() == list(range(10))
    assert (fashion.test_split, fashion.classes[9]) == ("test", "Ankle boot")


def test_the_user_s_folder_comes_before_the_system_s(tmp_path):
    write(tmp_path / "system", side=9)
    write(tmp_path / "fashion-mnist")
    assert len(data.load("fashion-mnist", root=tmp_path).train) == 20


def test_absent_files_offline_say_what_to_get(tmp_path):
    with pytest.raises(InputError, match=r"absent from .*no network.*; get train-images.*fashion-mnist") as caught:
        data.load("fashion-mnist", root=tmp_path / "new")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 2, 10, 300, -1])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_named(tmp_path, zipped, keep):
    write(tmp_path, zipped=zipped)
    bad = next(tmp_path.glob("train-images*"))
    bad.write_bytes(bad.read_bytes()[:keep])
    with pytest.raises(InputError, match=bad.name):
        data.load("fashion-mnist", root=tmp_path)


def test_images_of_another_size_and_labels_of_another_count_are_refused(tmp_path):
    write(tmp_path, side=9)
    with pytest.raises(InputError, match=r"images of \(9, 9\) pixels, want \(28, 28\)"):
        data.load("fashion-mnist", root=tmp_path)
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, dtype=np.uint8)))
    with pytest.raises(InputError, match="3 labels for 20 images"):
        data.load("fashion-mnist", root=tmp_path)


def test_labels_out_of_range_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.full(10, 10, dtype=np.uint8)))
    with pytest.raises(InputError, match="labels of the test split run from 10 to 10, allowed are 0 to 9"):
        data.load("fashion-mnist", root=tmp_path)
