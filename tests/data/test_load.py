import pytest

from checkpoints.errors import InputError
from transfer import data


@pytest.mark.parametrize("name", ["digit", "cifar", "", "imagefolder"])
def test_an_unknown_name_shows_near_ones(name):
    with pytest.raises(InputError, match=f"dataset {name!r} is unknown; (did you mean|known:)"):
        data.load(name)
    assert "imagefolder:<path>" in data.names()


def test_the_environment_names_the_default_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_DATA", str(tmp_path / "mine"))
    with pytest.raises(InputError, match=r"mine/tiny-imagenet-200"):
        data.load("tiny-imagenet")


def test_digits_are_fixed_and_stratified():
    digits = data.load("digits")
    train, test = digits.train, digits.test
    assert (len(train), len(test), digits.test_split, digits.classes[3]) == (1437, 360, "test", "3")
    assert train.pixels.shape == (1437, 3, 32, 32)
    assert (train.pixels[:, 0] == train.pixels[:, 2]).all()
    assert int(train.pixels.max()) == 255
    whole = train.labels.bincount() + test.labels.bincount()
    assert ((test.labels.bincount() - whole / 5).abs() < 1).all()
    together = {image.numpy().tobytes() for image in (*train.pixels, *test.pixels)}
    assert len(together) == 1797
