import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from checkpoints.errors import InputError
from transfer.data.augment import Augment
from transfer.data.dataset import ImageFiles
from transfer.data.image_batches import Batches

PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def test_workers_change_nothing(files):
    options = {
        "size": 8,
        "batch": 2,
        "shuffle": True,
        "augment": Augment(resized_crop=(0.3, 1), flip=True),
        **PLAIN,
    }
    walks = [list(Batches(files(), workers=workers, **options)) for workers in (0, 1, 2)]
    for other in walks[1:]:
        for (x, y), (u, v) in zip(walks[0], other, strict=True):
            assert torch.equal(x, u)
            assert torch.equal(y, v)


def test_the_random_part_of_a_sample_is_its_own(files):
    """Not of its place in a batch: a shuffled walk has the same images as one in order."""
    options = {"size": 8, "augment": Augment(pad_crop=3, flip=True), **PLAIN}
    split = ImageFiles(files().paths, torch.arange(5))
    ordered = next(iter(Batches(split, batch=5, **options)))[0]
    for x, y in Batches(split, batch=2, shuffle=True, **options):
        assert torch.equal(x, ordered[y])


def test_at_test_time_the_shorter_side_is_resized_and_the_centre_kept(files):
    split = files()
    inputs, _ = next(iter(Batches(split, size=14, batch=5, **PLAIN)))
    for x, path in zip(inputs, split.paths, strict=True):
        image = reference.center_crop(reference.resize(Image.open(path), [16]), [14])
        assert torch.equal(x, reference.pil_to_tensor(image) * torch.tensor(1 / 255))


def test_resized_crops_have_the_size_asked(files):
    walk = Batches(files(), size=14, batch=5, augment=Augment(resized_crop=(0.2, 1)), **PLAIN)
    assert next(iter(walk))[0].shape == (5, 3, 14, 14)


def test_grey_images_get_three_equal_channels(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "grey.png")
    inputs, _ = next(iter(Batches(ImageFiles((tmp_path / "grey.png",), torch.tensor([0])), size=7, batch=1, **PLAIN)))
    assert torch.equal(inputs[:, 0], inputs[:, 2])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["truncated", "text", "absent"])
def test_an_image_that_cannot_be_read_is_named_in_one_line(files, tmp_path, workers, damage):
    split, bad = files(), tmp_path / "bad.jpg"
    if damage != "absent":
        Image.open(split.paths[0]).resize((64, 64)).save(bad)
        bad.write_bytes(bad.read_bytes()[:400] if damage == "truncated" else b"no image")
    split = ImageFiles((*split.paths, bad), torch.zeros(6, dtype=torch.int64))
    with pytest.raises(InputError, match=r"bad\.jpg: not a readable image") as caught:
        list(Batches(split, size=8, batch=4, workers=workers, **PLAIN))
    assert "\n" not in str(caught.value)


def test_sixteen_bits_a_channel_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 60_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    split = ImageFiles((tmp_path / "deep.png",), torch.tensor([0]))
    with pytest.raises(InputError, match=r"deep\.png: pixels of mode I;16, want 8 bits per channel"):
        next(iter(Batches(split, size=8, batch=1, **PLAIN)))
