"""The offline sample: equal on each making, in VOC's layout, with real masks."""

import hashlib
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation
from sklearn.datasets import load_digits

from checkpoints.errors import InputError
from scripts import make_voc_sample
from transfer import data
from transfer.data.dataset import voc_palette
from transfer.data.image_io import decode, read_mask
from transfer.data.mask_batches import MaskBatches
from transfer.data.sources import voc_sample

SCRIPT = Path(make_voc_sample.__file__)


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "voc"
    voc_sample.write(folder)
    return folder


@pytest.fixture
def small(monkeypatch, tmp_path) -> Path:
    """A short sample, and a cache folder of its own."""
    monkeypatch.setattr(voc_sample, "COUNTS", {"train": 3, "val": 2})
    monkeypatch.setenv("TRANSFER_HOME", str(tmp_path / "home"))
    return tmp_path


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def masks(folder: Path, split: str) -> list[np.ndarray]:
    names = (folder / f"ImageSets/Segmentation/{split}.txt").read_text().split()
    return [read_mask(folder / f"SegmentationClass/{name}.png", 11).numpy() for name in names]


def test_it_is_the_same_each_time(small):
    for name in ("one", "two"):
        voc_sample.write(small / name)
    assert digest(small / "one") == digest(small / "two")
    assert len(digest(small / "one")) == 2 * 5 + 5


def test_it_is_a_folder_in_voc_layout(sample):
    loaded = data.load(f"voc-folder:{sample}")
    assert (len(loaded.train), len(loaded.test)) == (240, 80)
    assert loaded.classes == ("background", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert len((sample / "ImageSets/Segmentation/trainval.txt").read_text().split()) == 320
    for image, mask in zip(loaded.train.images[:20], loaded.train.masks[:20], strict=True):
        with Image.open(image) as photo, Image.open(mask) as labels:
            assert (photo.format, photo.mode, labels.format, labels.mode) == ("JPEG", "RGB", "PNG", "P")
            assert photo.size == labels.size
            assert all(64 <= side <= 104 for side in photo.size)
            colours = np.array(labels.getpalette()).reshape(-1, 3)
            assert colours.tolist() == [list(colour) for colour in voc_palette()[: len(colours)]]
            assert len(colours) == 256
    assert len({decode(path, path).size for path in loaded.train.images}) > 100


@pytest.mark.parametrize("split", ["train", "val"])
def test_each_class_occurs_and_no_stroke_touches_another_label(sample, split):
    """Around each stroke lies 255; background never touches it, digits never touch one another."""
    counts, found = np.zeros(256, int), masks(sample, split)
    for mask in found:
        counts += np.bincount(mask.ravel(), minlength=256)
        for label in set(np.unique(mask)) - {0, 255}:
            near = mask[binary_dilation(mask == label, np.ones((3, 3)))]
            assert set(np.unique(near)) == {label, 255}
    assert set(np.flatnonzero(counts)) == {*range(11), 255}
    shares = counts / counts.sum()
    assert shares[0] > 0.7
    assert (shares[1:11] > 0.002).all()
    assert 0.02 < shares[255] < 0.1


def test_labels_are_the_digits_own_classes(small, monkeypatch):
    """The digit under a mask, shrunk to 8 × 8, resembles the mean of its class more than most other means."""
    digits = load_digits()
    means = np.stack([digits.images[digits.target == label].mean(0) for label in range(10)])
    monkeypatch.setattr(voc_sample, "COUNTS", {"train": 60, "val": 1})
    right = total = 0
    for _, mask in voc_sample.samples("train"):
        labels = np.array(mask)
        for label in set(np.unique(labels)) - {0, 255}:
            rows, columns = np.nonzero(labels == label)
            box = (labels == label)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            if box.shape[0] > 44 or box.shape[1] > 44:
                continue  # two digits of one class
            shrunk = np.array(Image.fromarray(box.astype(np.float32)).resize((8, 8), Image.Resampling.BOX))
            guess = [np.corrcoef(shrunk.ravel(), _stretched(mean).ravel())[0, 1] for mean in means]
            right, total = right + (int(np.argmax(guess)) + 1 == label), total + 1
    assert total > 80
    assert right / total > 0.6  # chance: 0.1


def _stretched(mean: np.ndarray) -> np.ndarray:
    ink = mean > 4
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    box = Image.fromarray(mean[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32))
    return np.array(box.resize((8, 8), Image.Resampling.BILINEAR))


def test_train_and_val_share_no_digit():
    train, val = (voc_sample._source(split) for split in ("train", "val"))
    assert (len(train.labels), len(val.labels)) == (1437, 360)
    assert not {ink.tobytes() for ink in train.digits} & {ink.tobytes() for ink in val.digits}


def test_the_name_alone_makes_it_once(small):
    loaded = data.load("voc-sample")
    home = small / "home" / f"voc-sample-{voc_sample.VERSION}"
    assert (loaded.name, loaded.train_split, loaded.test_split) == ("voc-sample", "train", "val")
    assert loaded.train.images[0].is_relative_to(home)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    data.load("voc-sample")
    assert before == {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    assert sorted(path.name for path in home.parent.iterdir()) == [home.name, f"{home.name}.lock"]


def test_a_cache_that_cannot_be_written_is_one_line(small, monkeypatch):
    (small / "file").write_text("")
    monkeypatch.setenv("TRANSFER_HOME", str(small / "file"))
    with pytest.raises(InputError, match=r"voc-sample: cannot write .*; set TRANSFER_HOME to another folder"):
        data.load("voc-sample")


def test_half_a_sample_is_never_taken_for_a_whole(small, monkeypatch):
    def broken(split):
        yield from ()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(voc_sample, "samples", broken)
        with pytest.raises(InputError, match="No space left on device"):
            data.load("voc-sample")
    assert [path.suffix for path in (small / "home").iterdir()] == [".lock"]
    assert len(data.load("voc-sample").train) == 3


def test_the_script_writes_it_and_spares_what_is_there(tmp_path, sample, monkeypatch, capsys):
    out = tmp_path / "deep/out"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(out)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert capsys.readouterr() == (f"{out}: 240 train, 80 val images\n", "")
    assert digest(out) == digest(sample)
    with pytest.raises(SystemExit, match="2"):
        make_voc_sample.main()
    assert capsys.readouterr() == ("", f"{out} exists and is not an empty folder; name another\n")
    assert digest(out) == digest(sample)


@pytest.mark.parametrize("script", ["make_voc_sample.py", "bench_data.py"])
def test_scripts_say_the_sizes_of_the_images(script):
    low, high = voc_sample.SIDES
    assert f"{low} to {high} px" in (SCRIPT.parent / script).read_text()


def test_it_walks(sample):
    split = data.load(f"voc-folder:{sample}").test
    walk = MaskBatches(split, crop=96, batch=8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    seen = {label for _, targets in walk for label in targets.unique().tolist()}
    assert seen == {*range(11), 255}
