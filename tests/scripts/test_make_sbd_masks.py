"""SBD's .mat files become VOC's masks: against torchvision's reader of SBD, and by hand."""

import hashlib
import runpy
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix
from torchvision.datasets import SBDataset

from checkpoints.errors import InputError
from scripts import make_sbd_masks as script
from tests.data.mask_folders import COLOURS, blobs, write_list, write_voc
from transfer import data
from transfer.data.dataset import voc_palette
from transfer.data.sources import sbd, voc2012, voc2012_aug

HOME = "VOCdevkit/VOC2012"
TRAIN, VAL = ("b", "e", "x", "y"), ("z", "f")  # of SBD; VOC's train is a, b, c, d, its val e, f, g
ALL = ["a", "b", "c", "d", "x", "y", "z"]


def mat(path: Path, labels: np.ndarray) -> None:
    """Write a file as SBD's cls/<name>.mat are."""
    edges = np.empty((20, 1), object)
    for label in range(20):
        edges[label, 0] = csc_matrix(labels == label + 1)
    present = np.unique(labels[labels > 0])[:, None]
    content = {"Boundaries": edges, "Segmentation": labels, "CategoriesPresent": present}
    savemat(path, {"GTcls": content}, do_compression=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VOC 2012 in small, with four images that it has no masks of: x, y, z and one that SBD does not list."""
    home = write_voc(tmp_path / "data" / HOME, train=4, val=3)
    for i, name in enumerate(("x", "y", "z", "other")):
        Image.fromarray(COLOURS[blobs(30 + i, 41, [0, 1], i)]).save(home / f"JPEGImages/{name}.jpg")
    monkeypatch.setattr(voc2012, "COUNTS", {"train": 4, "val": 3, "train_aug": 7})
    return tmp_path / "data"


@pytest.fixture
def benchmark(root: Path) -> Path:
    """SBD in small, as its tgz unpacks."""
    folder = root.parent / "unpacked/benchmark_RELEASE/dataset"
    (folder / "cls").mkdir(parents=True)
    for i, name in enumerate((*TRAIN, *VAL)):
        with Image.open(root / HOME / f"JPEGImages/{name}.jpg") as image:
            mat(folder / f"cls/{name}.mat", blobs(image.height, image.width, range(21), seed=20 + i))
    (folder / "train.txt").write_text("".join(f"{name}\n" for name in TRAIN))
    (folder / "val.txt").write_text("".join(f"{name}\n" for name in VAL))
    (folder / "img").mkdir()
    return root.parent / "unpacked"


@pytest.fixture
def tgz(benchmark: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return packed(benchmark, monkeypatch)


def packed(benchmark: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pack SBD as it is distributed, lists last, and make its md5 the one that is known."""
    path = benchmark.parent / "benchmark.tgz"
    with tarfile.open(path, "w:gz") as made:
        made.add(benchmark / "benchmark_RELEASE", "benchmark_RELEASE")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(sbd, "SBD", replace(voc2012_aug.SBD, md5=md5))
    return path


def indices(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "P")
        assert image.getpalette() == [value for colour in voc_palette() for value in colour]
        return np.array(image)


def assert_made(root: Path, benchmark: Path) -> None:
    home = root / HOME
    masks = home / "SegmentationClassAug"
    assert (home / "ImageSets/Segmentation/trainaug.txt").read_text().split() == ALL
    assert sorted(path.name for path in masks.iterdir()) == [f"{name}.png" for name in ALL]
    for name in "abcd":
        assert (masks / f"{name}.png").read_bytes() == (home / f"SegmentationClass/{name}.png").read_bytes()
    for split, names in (("train", TRAIN), ("val", VAL)):
        reference = SBDataset(benchmark / "benchmark_RELEASE/dataset", split, mode="segmentation")
        for i, name in enumerate(names):
            if name in "xyz":
                expected = np.array(reference._get_segmentation_target(reference.masks[i]))
                assert (indices(masks / f"{name}.png") == expected).all()
    assert not [path for path in home.iterdir() if path.name.startswith(".")]
    loaded = data.load("voc2012-aug", root=root)
    assert ([path.stem for path in loaded.train.images], loaded.train_split) == (ALL, "train_aug")
    assert [path.stem for path in loaded.test.images] == ["e", "f", "g"]


@pytest.mark.parametrize("inside", ["", "benchmark_RELEASE", "benchmark_RELEASE/dataset"])
def test_a_folder_of_sbd(root, benchmark, inside):
    sbd.write_masks(benchmark / inside, root)
    assert_made(root, benchmark)


def test_the_tgz_is_read_where_it_lies(root, benchmark, tgz):
    before = sorted(tgz.parent.iterdir())
    assert sbd.write_masks(tgz, root / HOME) == root / HOME / "SegmentationClassAug"
    assert sorted(tgz.parent.iterdir()) == before
    assert_made(root, benchmark)


def test_a_mask_that_no_list_names_is_left_out(root, benchmark):
    mat(benchmark / "benchmark_RELEASE/dataset/cls/other.mat", blobs(33, 41, [0, 1], 3))
    sbd.write_masks(benchmark, root)
    assert_made(root, benchmark)


def test_the_address_and_md5_are_torchvisions():
    assert (voc2012_aug.SBD.url, voc2012_aug.SBD.md5) == (SBDataset.url, SBDataset.md5)
    assert voc2012_aug.SBD.file == SBDataset.filename


def refused(source: Path, root: Path) -> str:
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError) as caught:
        sbd.write_masks(source, root)
    assert sorted(root.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_tgz_with_another_md5_is_not_opened(root, tgz):
    with tgz.open("ab") as file:
        file.write(b"\0")
    assert "benchmark.tgz has md5" in refused(tgz, root)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil-of-a-tgz", "benchmark_RELEASE/dataset/cls/../../../../evil"])
def test_a_tgz_that_leads_out_of_its_folder(root, benchmark, monkeypatch, name):
    def evil(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.name = name if info.name.endswith("x.mat") else info.name
        return info

    path = benchmark.parent / "benchmark.tgz"
    with tarfile.open(path, "w:gz") as made:
        made.add(benchmark / "benchmark_RELEASE", "benchmark_RELEASE", filter=evil)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(sbd, "SBD", replace(voc2012_aug.SBD, md5=md5))
    assert "leads out of the folder" in refused(path, root)


def test_a_truncated_tgz(root, tgz, monkeypatch):
    tgz.write_bytes(tgz.read_bytes()[:-900])
    md5 = hashlib.md5(tgz.read_bytes()).hexdigest()
    monkeypatch.setattr(sbd, "SBD", replace(voc2012_aug.SBD, md5=md5))
    assert "not a whole tgz" in refused(tgz, root)


def change(path: Path, kind: str) -> None:
    sound = blobs(30, 41, range(21), seed=22)
    if kind == "text":
        path.write_bytes(b"no MATLAB file" * 20)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    elif kind == "other content":
        savemat(path, {"GTinst": {"Segmentation": sound}})
    elif kind == "string":
        savemat(path, {"GTcls": "labels"})
    elif kind == "large":
        path.write_bytes(path.read_bytes() + bytes(sbd.LARGEST))
    else:
        bad = {"float": sound.astype(float), "label": sound + np.uint8(9), "size": sound[:-1], "cube": sound[None]}[
            kind
        ]
        savemat(path, {"GTcls": {"Segmentation": bad}})


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "no GTcls.Segmentation can be read"),
        ("truncated", "no GTcls.Segmentation can be read"),
        ("other content", "no GTcls.Segmentation can be read (KeyError"),
        ("string", "no GTcls.Segmentation can be read"),
        ("large", "has more than 1048576 bytes"),
        ("float", "GTcls.Segmentation is float64 (30, 41), want uint8 (height, width)"),
        ("cube", "GTcls.Segmentation is uint8 (1, 30, 41), want uint8"),
        ("label", "has the label 29, allowed are 0 to 20"),
        ("size", "has 41 × 29 pixels, its image"),
    ],
)
def test_a_mask_that_cannot_be_used_is_named(root, benchmark, monkeypatch, kind, said, packs):
    change(benchmark / "benchmark_RELEASE/dataset/cls/x.mat", kind)
    source = packed(benchmark, monkeypatch) if packs else benchmark
    line = refused(source, root)
    assert f"{source}/cls/x.mat: " in line
    assert said in line


def test_what_is_absent_is_named(root, benchmark):
    dataset = benchmark / "benchmark_RELEASE/dataset"
    assert "has no folder dataset/cls; give SBD's benchmark.tgz (https://" in refused(root, root)
    assert "is not there; expected the file benchmark.tgz" in refused(root / "none.tgz", root)
    (dataset / "cls/y.mat").unlink()
    assert "y is listed, but" in refused(benchmark, root)
    (dataset / "train.txt").unlink()
    assert "dataset/train.txt" in refused(benchmark, root)
    empty = root.parent / "empty"
    empty.mkdir()
    assert "empty: neither JPEGImages nor VOCdevkit/VOC2012/JPEGImages" in refused(benchmark, empty)


def test_lists_of_other_lengths_are_not_sbd(root, benchmark):
    (benchmark / "benchmark_RELEASE/dataset/train.txt").write_text("b\ne\nx\n")
    assert "lists 6 images, train_aug of VOC 2012 has 7" in refused(benchmark, root)
    write_list(root / HOME, "train", ["a", "b"])
    assert "train.txt: lists 2 images, train of VOC 2012 has 4" in refused(benchmark, root)


def test_masks_that_are_there_are_spared(root, benchmark):
    sbd.write_masks(benchmark, root)
    assert "SegmentationClassAug is there already; move it away" in refused(benchmark, root)


def test_the_command_and_its_one_line_of_error(root, benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make_sbd_masks.py", str(benchmark), str(root)])
    script.main()
    assert capsys.readouterr().out == f"{root / HOME / 'SegmentationClassAug'}: 7 masks\n"
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_that_the_data_set_names_is_there(root, monkeypatch, capsys):
    with pytest.raises(InputError) as caught:
        data.load("voc2012-aug", root=root)
    *_, command, _sbd, place = str(caught.value).split()
    assert (f"get {SBDataset.url}, then run: python " in str(caught.value), place) == (True, str(root))
    path = Path(script.__file__).parents[1] / command
    monkeypatch.setattr(sys, "argv", [str(path), "-h"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(path), run_name="__main__")
    assert SBDataset.url in capsys.readouterr().out
