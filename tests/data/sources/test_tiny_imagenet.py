import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints import NotReady, only_looking
from checkpoints.errors import InputError
from transfer import data
from transfer.data.sources import tiny_imagenet

WNIDS = ("n02", "n01", "n03")


def jpeg(path: Path, seed: int, *, side: int = 64, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, "JPEG")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Write three classes of two images, and three labelled validation images, as distributed."""
    monkeypatch.setattr(tiny_imagenet, "COUNTS", {"classes": 3, "train": 6, "val": 3})
    home = tmp_path / "tiny-imagenet-200"
    for k, wnid in enumerate(WNIDS):
        for i in range(2):
            jpeg(home / f"train/{wnid}/images/{wnid}_{i}.JPEG", 10 * k + i, mode="L" if i else "RGB")
        (home / f"train/{wnid}/{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t9\t9\n")
        jpeg(home / f"val/images/val_{k}.JPEG", 100 + k)
    jpeg(home / "test/images/test_0.JPEG", 7)
    (home / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (home / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tsalamander\nn03\tbullfrog\nn99\tother\n")
    lines = [f"val_{k}.JPEG\t{wnid}\t0\t32\t44\t62\n" for k, wnid in enumerate(reversed(WNIDS))]
    (home / "val/val_annotations.txt").write_text("".join(lines))
    return home


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in [folder, *sorted(folder.rglob("*"))]:
            archive.write(path, path.relative_to(folder.parent))
    shutil.rmtree(folder)
    return folder.with_suffix(".zip")


def cache(root: Path) -> Path:
    return root / "tiny-imagenet-200.uint8.safetensors"


@pytest.mark.parametrize("packed", [False, True])
def test_it_is_read_as_distributed_and_decoded_once(folder, packed, monkeypatch):
    expected = np.array(Image.open(folder / "train/n01/images/n01_0.JPEG")).transpose(2, 0, 1)
    if packed:
        zipped(folder)
    tiny = data.load("tiny-imagenet", root=folder.parent)
    assert (tiny.classes, tiny.test_split) == (("salamander", "goldfish", "bullfrog"), "val")
    assert tiny.train.pixels.shape == (6, 3, 64, 64)
    assert sorted(tiny.train.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    assert tiny.test.labels.tolist() == [2, 1, 0]
    goldfish = tiny.train.pixels[tiny.train.labels == 1]
    assert (goldfish[0].numpy() == expected).all()
    assert (goldfish[1, 0] == goldfish[1, 2]).all()

    monkeypatch.setattr(tiny_imagenet, "decoded", None)
    again = data.load("tiny-imagenet", root=folder.parent)
    assert torch.equal(again.train.pixels, tiny.train.pixels)
    assert torch.equal(again.test.labels, tiny.test.labels)
    assert not list(folder.parent.glob(".*tmp"))


def test_a_cache_of_other_files_or_damaged_is_made_again(folder, monkeypatch):
    data.load("tiny-imagenet", root=folder.parent)
    (folder / "train/n01/images/n01_1.JPEG").unlink()
    monkeypatch.setitem(tiny_imagenet.COUNTS, "train", 5)
    assert len(data.load("tiny-imagenet", root=folder.parent).train) == 5
    cache(folder.parent).write_bytes(cache(folder.parent).read_bytes()[:1000])
    assert len(data.load("tiny-imagenet", root=folder.parent).train) == 5


def test_where_the_cache_cannot_be_kept_it_warns_and_goes_on(folder, monkeypatch):
    def full(_tensors, path, **_options):
        Path(path).write_bytes(b"part")
        raise OSError("No space left on device")

    monkeypatch.setattr(tiny_imagenet, "save_file", full)
    with pytest.warns(UserWarning, match="not kept, No space left"):
        assert len(data.load("tiny-imagenet", root=folder.parent).train) == 6
    assert not cache(folder.parent).exists()
    assert not list(folder.parent.glob(".*tmp"))


def test_absent_data_says_what_to_get(tmp_path):
    with pytest.raises(InputError, match=r"are absent; get http://cs231n.*zip and put it in"):
        data.load("tiny-imagenet", root=tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("part", ["train", "val", "classes"])
def test_a_part_of_the_data_set_is_refused_before_any_decoding(folder, monkeypatch, part, packed):
    if part == "classes":
        (folder / "wnids.txt").write_text("\n".join((*WNIDS, "n04")))
    elif part == "train":
        (folder / "train/n01/images/n01_1.JPEG").unlink()
    else:
        (folder / "val/val_annotations.txt").write_text("val_0.JPEG\tn01\t0\t0\t1\t1\n")
    source = zipped(folder) if packed else folder
    monkeypatch.setattr(tiny_imagenet, "decoded", None)
    has = {"train": "5 + 3 images of 3", "val": "6 + 1 images of 3", "classes": "6 + 3 images of 4"}[part]
    with pytest.raises(InputError) as caught:
        data.load("tiny-imagenet", root=folder.parent)
    assert f"{source}: has {has} classes, Tiny-ImageNet 6 + 3 images of 3 classes; get the" in str(caught.value)


def test_the_counts_are_the_data_sets_own():
    assert tiny_imagenet.COUNTS == {"classes": 200, "train": 200 * 500, "val": 200 * 50}


@pytest.mark.parametrize("packed", [False, True])
def test_who_only_looks_decodes_nothing(folder, packed):
    source, root = zipped(folder) if packed else folder, folder.parent
    with only_looking(), pytest.raises(NotReady) as caught:
        data.load("tiny-imagenet", root=root)
    assert str(caught.value) == f"{source} is not decoded; a run decodes it to {cache(root)}"
    assert list(root.iterdir()) == [source]
    data.load("tiny-imagenet", root=root)
    with only_looking():
        assert len(data.load("tiny-imagenet", root=root).train) == 6


@pytest.mark.parametrize("name", ["wnids.txt", "words.txt", "val/val_annotations.txt"])
def test_an_absent_list_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        data.load("tiny-imagenet", root=folder.parent)


def test_a_truncated_zip_is_named(folder):
    packed = zipped(folder)
    packed.write_bytes(packed.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"tiny-imagenet-200\.zip: not a whole zip file"):
        data.load("tiny-imagenet", root=folder.parent)


def test_a_damaged_member_of_a_zip_is_named(folder):
    packed = zipped(folder)
    content = bytearray(packed.read_bytes())
    content[content.index(b"val_1.JPEG") + 500] ^= 255
    packed.write_bytes(content)
    with pytest.raises(InputError, match=r"val/images/val_1\.JPEG cannot be read \(Bad CRC"):
        data.load("tiny-imagenet", root=folder.parent)
    assert not cache(folder.parent).exists()


def test_wrong_images_are_named(folder):
    bad = folder / "train/n03/images/n03_0.JPEG"
    jpeg(bad, 0, side=32)
    with pytest.raises(InputError, match=r"n03_0\.JPEG has \(32, 32\) pixels, want \(64, 64\)"):
        data.load("tiny-imagenet", root=folder.parent)
    bad.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"n03_0\.JPEG: not a readable image"):
        data.load("tiny-imagenet", root=folder.parent)


@pytest.mark.parametrize("line", ["val_0.JPEG\tn77\t0\t0\t1\t1", "val_9.JPEG\tn01\t0\t0\t1\t1", "nonsense"])
def test_a_wrong_annotation_is_shown(folder, line):
    (folder / "val/val_annotations.txt").write_text(line + "\n")
    with pytest.raises(InputError, match=r"val_annotations\.txt has the line"):
        data.load("tiny-imagenet", root=folder.parent)


def test_a_class_that_is_not_listed_is_named(folder):
    (folder / "wnids.txt").write_text("n01\nn02\n")
    with pytest.raises(InputError, match=r"train/n03/.* is in no class of wnids.txt"):
        data.load("tiny-imagenet", root=folder.parent)
