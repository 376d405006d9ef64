"""MNIST: files in the published form, in each place they are looked for; what is not there is said in one line."""

from pathlib import Path

import numpy as np
import pytest

from checkpoints.errors import InputError
from tests.data.sources.test_fashion_mnist import idx, write
from transfer import data


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["mnist", "MNIST/raw"])
def test_each_layout_gives_the_same_images(tmp_path: Path, place: str, zipped: bool) -> None:
    write(tmp_path / place, zipped=zipped)
    found = data.load("mnist", root=tmp_path)
    expected = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    assert (found.train.pixels.numpy() == expected[:, None]).all()
    assert found.train.pixels.shape == (20, 3, 28, 28)
    assert found.test.labels.tolist() == list(range(10))
    assert (found.name, found.test_split, found.classes) == ("mnist", "test", tuple("0123456789"))


def test_files_of_fashion_mnist_are_not_taken_for_it(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path / "FashionMNIST/raw")
    with pytest.raises(InputError, match=r"^mnist: absent from .*no network.*; get train-images.*ossci.*mnist") as told:
        data.load("mnist", root=tmp_path)
    assert "\n" not in str(told.value)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "mnist", zipped=False)
    (tmp_path / "mnist/train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, dtype=np.uint8)))
    with pytest.raises(InputError, match="3 labels for 20 images"):
        data.load("mnist", root=tmp_path)
