from pathlib import Path

import pytest
from PIL import Image

from checkpoints.errors import InputError
from transfer import data


def write(root: Path, split: str, **counts: int) -> None:
    for name, count in counts.items():
        (root / split / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (6, 5), (i, 0, 0)).save(root / split / name / f"{i}.png")


@pytest.mark.parametrize("held", ["val", "test"])
def test_class_folders_become_classes_in_sorted_order(tmp_path, held):
    write(tmp_path, "train", dog=2, cat=3)
    write(tmp_path, held, cat=1, dog=1)
    (tmp_path / "train/cat/notes.txt").write_text("no image")
    (tmp_path / "train/.hidden").mkdir()
    loaded = data.load(f"imagefolder:{tmp_path}")
    assert (loaded.classes, loaded.test_split) == (("cat", "dog"), held)
    assert loaded.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert [path.parent.name for path in loaded.test.paths] == ["cat", "dog"]


def test_val_is_preferred_to_test(tmp_path):
    for split in ("train", "val", "test"):
        write(tmp_path, split, a=1)
    assert data.load(f"imagefolder:{tmp_path}").test_split == "val"


def test_class_folders_that_disagree_are_named(tmp_path):
    write(tmp_path, "train", a=1, b=1)
    write(tmp_path, "val", a=1, c=1)
    with pytest.raises(InputError, match="differ: b is not in val, c is not in train; make them agree"):
        data.load(f"imagefolder:{tmp_path}")


def test_absent_and_empty_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="no path given"):
        data.load("imagefolder:")
    with pytest.raises(InputError, match="no folder train in it"):
        data.load(f"imagefolder:{tmp_path / 'nowhere'}")
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="no folder val or test in it"):
        data.load(f"imagefolder:{tmp_path}")
    (tmp_path / "val").mkdir()
    with pytest.raises(InputError, match="train: has no class folders"):
        data.load(f"imagefolder:{tmp_path}")
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir()
    with pytest.raises(InputError, match=r"train/a: has no images"):
        data.load(f"imagefolder:{tmp_path}")


def counted(root: Path) -> tuple[list[str], list[int]]:
    split = data.load(f"imagefolder:{root}").train
    return [path.relative_to(root / "train").as_posix() for path in split.paths], split.labels.tolist()


def test_a_link_that_leads_round_counts_no_image_twice(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, split, cat=2, dog=1)
    expected = counted(tmp_path)
    assert expected == (["cat/0.png", "cat/1.png", "dog/0.png"], [0, 0, 1])
    (tmp_path / "train/cat/self").symlink_to(".", target_is_directory=True)
    (tmp_path / "train/dog/up").symlink_to(tmp_path / "train", target_is_directory=True)
    (tmp_path / "train/dog/deep").mkdir()
    (tmp_path / "train/dog/deep/top").symlink_to(tmp_path, target_is_directory=True)
    assert counted(tmp_path) == expected


def test_links_to_folders_elsewhere_are_followed_and_each_folder_is_read_once(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, split, cat=1)
    write(tmp_path, "elsewhere", more=2)
    for name in ("b", "a"):
        (tmp_path / "train/cat" / name).symlink_to(tmp_path / "elsewhere/more", target_is_directory=True)
    assert counted(tmp_path)[0] == ["cat/0.png", "cat/a/0.png", "cat/a/1.png"]


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    for split in ("train", "val"):
        write(tmp_path, split, a=1)
    monkeypatch.setattr("transfer.data.sources.imagefolder.os.scandir", refuse)
    with pytest.raises(InputError, match=r"train: cannot be read .Permission denied.; check its permissions"):
        data.load(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_broken_image_is_found_before_any_work(tmp_path, monkeypatch, split):
    monkeypatch.setenv("TRANSFER_HOME", str(tmp_path / "home"))
    for each in ("train", "val"):
        write(tmp_path, each, cat=2, dog=1)
    (tmp_path / split / "dog" / "1.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=rf"{split}/dog/1.jpg: not a readable image"):
        data.load(f"imagefolder:{tmp_path}")


def test_the_same_files_are_looked_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_HOME", str(tmp_path / "home"))
    for split in ("train", "val"):
        write(tmp_path, split, cat=2)
    looked = []
    monkeypatch.setattr("transfer.data.image_io._check", looked.append)
    for _ in range(2):
        data.load(f"imagefolder:{tmp_path}")
    assert len(looked) == 4
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "val/cat/5.png")
    data.load(f"imagefolder:{tmp_path}")
    assert len(looked) == 9


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRANSFER_HOME", str(tmp_path / "file"))
    for split in ("train", "val"):
        write(tmp_path, split, cat=2)
    assert len(data.load(f"imagefolder:{tmp_path}").train) == 2


def test_what_predict_reads_is_read_in_class_folders(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, split, cat=1)
        Image.new("P", (6, 5)).save(tmp_path / split / "cat" / "a.gif")
        Image.new("RGB", (6, 5)).save(tmp_path / split / "cat" / "b.jpe", format="JPEG")
    assert [path.name for path in data.load(f"imagefolder:{tmp_path}").train.paths] == ["0.png", "a.gif", "b.jpe"]
