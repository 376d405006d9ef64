"""VOC 2012 from a folder, from the tar, from a server; and with SBD's masks."""

import hashlib
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from checkpoints import NotReady, only_looking
from checkpoints.errors import InputError
from tests.checkpoints.loopback import Site, serve
from tests.data.mask_folders import write_list, write_voc
from transfer import data
from transfer.data.sources import voc2012

HOME = "VOCdevkit/VOC2012"


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds a tiny tar in the format of the original; the loader knows its md5 and size."""
    write_voc(tmp_path / "made" / HOME, train=4, val=3)
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / voc2012.TAR.file, "w:") as tar:
        tar.add(tmp_path / "made/VOCdevkit", "VOCdevkit")
    md5 = hashlib.md5((root / voc2012.TAR.file).read_bytes()).hexdigest()
    monkeypatch.setattr(voc2012, "TAR", replace(voc2012.TAR, url="http://127.0.0.1:9/none.tar", md5=md5))
    monkeypatch.setattr(voc2012, "COUNTS", {"train": 4, "val": 3, "train_aug": 5})
    return root


@pytest.fixture
def site() -> Iterator[Site]:
    yield from serve()


def test_the_tar_is_unpacked_once(original):
    loaded = data.load("voc2012", root=original)
    assert [path.relative_to(original).as_posix() for path in loaded.train.images[:2]] == [
        f"{HOME}/JPEGImages/a.jpg",
        f"{HOME}/JPEGImages/b.jpg",
    ]
    assert (len(loaded.train), len(loaded.test), len(loaded.classes)) == (4, 3, 21)
    assert (loaded.classes[0], loaded.classes[15], loaded.classes[20]) == ("background", "person", "tvmonitor")
    assert sorted(path.name for path in original.iterdir() if path.name[0] != ".") == ["VOCdevkit", voc2012.TAR.file]
    (original / voc2012.TAR.file).unlink()
    assert data.load("voc2012", root=original).test.masks == loaded.test.masks


def test_unpacked_files_are_those_of_the_tar(original):
    data.load("voc2012", root=original)
    made = original.parent / "made"
    names = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(original) for p in (original / "VOCdevkit").rglob("*") if p.is_file())
    assert all((made / name).read_bytes() == (original / name).read_bytes() for name in names)


def test_a_tar_with_another_md5_is_not_opened(original):
    with (original / voc2012.TAR.file).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"VOCtrainval_11-May-2012\.tar has md5 .*, expected .*; delete .* get it"):
        data.load("voc2012", root=original)
    assert not (original / "VOCdevkit").exists()


def test_a_tar_with_other_content(original, monkeypatch):
    path = original / voc2012.TAR.file
    with tarfile.open(path, "w:") as tar:
        tar.add(original.parent / "made/VOCdevkit/VOC2012/classes.txt", "classes.txt")
    monkeypatch.setattr(voc2012, "TAR", replace(voc2012.TAR, md5=hashlib.md5(path.read_bytes()).hexdigest()))
    with pytest.raises(InputError, match="has no folder VOCdevkit/VOC2012"):
        data.load("voc2012", root=original)
    assert sorted(path.name for path in original.rglob("*")) == [voc2012.TAR.file]


def test_an_absent_tar_is_downloaded(original, site, monkeypatch):
    content = (original / voc2012.TAR.file).read_bytes()
    monkeypatch.setattr(voc2012, "TAR", replace(voc2012.TAR, url=site.add("voc.tar", content)))
    root = original.parent / "elsewhere/data"
    loaded = data.load("voc2012", root=root)
    assert len(loaded.train) == 4
    assert [request[1] for request in site.requests] == ["voc.tar"]
    assert (root / voc2012.TAR.file).read_bytes() == content
    data.load("voc2012", root=root)
    assert len(site.requests) == 1


def test_a_download_with_another_md5_is_thrown_away(original, site, monkeypatch):
    monkeypatch.setattr(voc2012, "TAR", replace(voc2012.TAR, url=site.add("voc.tar", b"hello")))
    root = original.parent / "elsewhere"
    with pytest.raises(InputError, match="has md5 5d41402abc4b2a76b9719d911017c592, expected"):
        data.load("voc2012", root=root)
    assert not root.exists()


def test_absent_and_offline_is_one_line_and_leaves_nothing(original):
    root = original.parent / "elsewhere"
    with pytest.raises(InputError, match=r"cannot download http://127.0.0.1:9/none.tar .* put it at .*elsewhere/VOC"):
        data.load("voc2012", root=root)
    assert not root.exists()


def test_a_folder_without_images_is_not_written_into(original):
    (original / HOME / "SegmentationClassAug").mkdir(parents=True)
    with pytest.raises(InputError, match=r"VOC2012: has no folder JPEGImages; put all of VOC 2012 there, or move"):
        data.load("voc2012", root=original)


def test_a_list_of_another_length_is_not_voc2012(original):
    data.load("voc2012", root=original)
    write_list(original / HOME, "train", ["a", "b"])
    with pytest.raises(InputError, match=r"train\.txt: lists 2 images, train of VOC 2012 has 4; get the original"):
        data.load("voc2012", root=original)


@pytest.fixture(params=["trainaug", "train_aug"])
def augmented(request, original) -> Path:
    """VOC 2012 with SBD's masks: of its own train and of one more image, listed by name or by paths."""
    data.load("voc2012", root=original)
    home = original / HOME
    shutil.copytree(home / "SegmentationClass", home / "SegmentationClassAug")
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClassAug", "png")):
        shutil.copy(home / folder / f"a.{suffix}", home / folder / f"more.{suffix}")
    names = ["a", "b", "c", "d", "more"]
    paths = request.param == "train_aug"
    write_list(
        home, request.param, [f"/JPEGImages/{n}.jpg /SegmentationClassAug/{n}.png" if paths else n for n in names]
    )
    return original


def test_sbd_masks_train_and_vocs_own_masks_test(augmented):
    loaded = data.load("voc2012-aug", root=augmented)
    assert [path.stem for path in loaded.train.images] == ["a", "b", "c", "d", "more"]
    assert {path.parent.name for path in loaded.train.masks} == {"SegmentationClassAug"}
    assert {path.parent.name for path in loaded.test.masks} == {"SegmentationClass"}
    assert (loaded.name, loaded.train_split, loaded.test_split) == ("voc2012-aug", "train_aug", "val")


def test_a_list_that_holds_images_of_val_is_refused(augmented):
    """SBD's own training list does: models trained on it have seen val."""
    home = augmented / HOME
    for name in ("trainaug", "train_aug"):
        (home / f"ImageSets/Segmentation/{name}.txt").unlink(missing_ok=True)
    write_list(home, "trainaug", ["a", "b", "c", "d", "e"])
    with pytest.raises(InputError, match=r"trainaug\.txt: e stands in val\.txt too"):
        data.load("voc2012-aug", root=augmented)


def test_the_tar_is_used_and_what_sbd_lacks_is_said_in_one_line(original):
    with pytest.raises(InputError) as caught:
        data.load("voc2012-aug", root=original)
    message = str(caught.value)
    assert "\n" not in message
    assert f"the folder {original / HOME / 'SegmentationClassAug'} (SBD's masks" in message
    assert f"the list {original / HOME / 'ImageSets/Segmentation/trainaug.txt'} (or train_aug.txt" in message
    assert f"benchmark.tgz, then run: python scripts/make_sbd_masks.py benchmark.tgz {original}" in message
    assert len(data.load("voc2012", root=original).train) == 4
    (original / HOME / "SegmentationClassAug").mkdir()
    with pytest.raises(InputError, match="absent: the list"):
        data.load("voc2012-aug", root=original)


@pytest.mark.parametrize("name", ["voc2012", "voc2012-aug"])
def test_who_only_looks_unpacks_nothing(original, name):
    tar = original / voc2012.TAR.file
    with only_looking(), pytest.raises(NotReady) as caught:
        data.load(name, root=original)
    assert f"{tar} is not unpacked; a run unpacks it to {original / HOME}" in str(caught.value)
    assert list(original.iterdir()) == [tar]
    tar.unlink()
    with only_looking(), pytest.raises(NotReady) as caught:
        data.load(name, root=original)
    assert f"a run downloads it; or download it elsewhere and put it at {tar}" in str(caught.value)
    assert ("then run: python scripts/make_sbd_masks.py" in str(caught.value)) == (name == "voc2012-aug")
    assert "\n" not in str(caught.value)
    assert list(original.iterdir()) == []


def test_what_is_unpacked_is_seen_by_who_only_looks(original):
    data.load("voc2012", root=original)
    with only_looking():
        assert len(data.load("voc2012", root=original).train) == 4
