"""What the whole input pipeline does to images and labels: against numpy, Pillow and arithmetic."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from transfer.data.augment import MaskAugment
from transfer.data.dataset import MaskFiles
from transfer.data.geometry import resize_pair
from transfer.data.mask_batches import MaskBatches

from .mask_folders import COLOURS, MEAN, STD, blobs, pairs, pixels

LOOKS = {
    "augment": {"augment": MaskAugment()},
    "bicubic": {"augment": MaskAugment(), "interpolation": "bicubic"},
    "smaller": {"augment": MaskAugment(scale=(0.3, 0.6))},
    "whole": {"protocol": "whole"},
    "center": {"protocol": "center"},
}


@pytest.fixture(params=LOOKS)
def look(request) -> dict:
    return LOOKS[request.param]


def walked(split: MaskFiles, epochs: int = 3, **options) -> list[tuple[Tensor, Tensor]]:
    """Each image and its target over some epochs."""
    walk = MaskBatches(split, **{"crop": 48, "batch": 4, "mean": MEAN, "std": STD, **options})
    found = []
    for epoch in range(epochs):
        walk.set_epoch(epoch)
        found += [pair for inputs, targets in walk for pair in zip(inputs, targets, strict=True)]
    return found


def test_masks_keep_their_own_labels_and_padding_is_never_background(tmp_path, look):
    """No mask has the label 0; neighbours such as 3 and 7 mixed would give 4, 5 or 6."""
    masks = [blobs(30 + 9 * i, 80 - 9 * i, [3, 7, 20, 255], seed=i) for i in range(6)]
    found = walked(pairs(tmp_path, masks, 21), **look)
    seen = set(torch.cat([target.flatten() for _, target in found]).tolist())
    assert seen == {3, 7, 20, 255}


def test_padding_is_exactly_the_mean_and_ignored(tmp_path, look):
    """Masks without 255: what is 255 in a target is padding, and only that is 0 in the input."""
    masks = [blobs(30 + 9 * i, 80 - 9 * i, [1, 2], seed=i) for i in range(6)]
    found = walked(pairs(tmp_path, masks, 3), **look)
    padded = 0
    for image, target in found:
        padding = target == 255
        assert (image[:, padding] == 0).all()
        assert not torch.signbit(image[:, padding]).any()
        assert (image[:, ~padding] != 0).all()
        rows, columns = (~padding).any(1), (~padding).any(0)
        inside = torch.zeros_like(padding)
        inside[: int(rows.sum()), : int(columns.sum())] = True
        assert torch.equal(inside, ~padding)  # one rectangle in the upper left corner
        padded += int(padding.sum())
    assert (padded > 0) == (look != LOOKS["center"])


def test_image_and_mask_stay_together(tmp_path, look):
    """Images painted from their masks have the colour of their label where the pixels around share it.

    Bicubic filters look 2 pixels far, 4 after magnification. No patch is thin enough to vanish from a mask.
    """
    sizes, random = [(3, 5), (5, 3), (4, 4), (2, 5)], np.random.default_rng(0)
    patch = np.ones((24, 24), np.uint8)
    masks = [np.kron(random.choice([0, 1, 2, 255], size).astype(np.uint8), patch) for size in sizes]
    reach = 4 if look.get("interpolation") == "bicubic" else 2
    checked = 0
    for image, target in walked(pairs(tmp_path, masks, 3), **look):
        labels = F.pad(target[None, None].double(), [reach] * 4, value=-1)  # what a crop cut off is not known
        highest, lowest = (sign * F.max_pool2d(sign * labels, 2 * reach + 1, 1) for sign in (1, -1))
        padding = (image == 0).all(0)
        even = (highest == lowest)[0, 0] & ~padding
        expected = torch.from_numpy(COLOURS)[target].permute(2, 0, 1).float()
        assert (pixels(image) - expected)[:, even].abs().max() < 1.01
        checked += int(even.sum())
    assert checked > 2_000


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [[20, 31], [35, 25], [60, 92], [17]])
def test_resizing_commutes_with_mirroring(interpolation, size):
    """True of filters that look around a pixel's centre; torch's "nearest" looks to the upper left of it."""
    mask = torch.from_numpy(blobs(35, 47, [0, 1, 2, 255], seed=1))
    image = torch.from_numpy(COLOURS)[mask.long()].permute(2, 0, 1).contiguous()
    small, labels = resize_pair(image, mask, size, interpolation)
    mirrored = resize_pair(image.flip(1, 2), mask.flip(0, 1), size, interpolation)
    assert torch.equal(mirrored[1].flip(0, 1), labels)
    assert (mirrored[0].flip(1, 2).int() - small.int()).abs().max() <= 1
    plain = F.interpolate(mask[None, None].float(), tuple(labels.shape), mode="nearest")[0, 0]
    assert labels.shape == mask.shape or not torch.equal(plain, labels)


def test_whole_images_are_untouched(tmp_path):
    masks = [blobs(33, 50, [0, 1, 2, 255], seed=0), blobs(32, 48, [0, 1, 2, 255], seed=1)]
    split = pairs(tmp_path, masks, 3)
    for (image, target), path, mask in zip(walked(split, epochs=1), split.images, masks, strict=True):
        height, width = mask.shape
        assert tuple(target.shape) == (48 if height == 33 else 32, 64 if width == 50 else 48)
        assert (target[:height, :width].numpy() == mask).all()
        expected = (np.array(Image.open(path)) / 255 - MEAN) / STD
        np.testing.assert_allclose(image[:, :height, :width].permute(1, 2, 0), expected, atol=1e-5)


def test_the_centre_is_pillows(tmp_path):
    masks = [blobs(75, 121, [0, 1, 2, 255], seed=0), blobs(99, 31, [0, 1, 2, 255], seed=1)]
    split = pairs(tmp_path, masks, 3)
    found = walked(split, epochs=1, protocol="center")
    for (image, target), path, file in zip(found, split.images, split.masks, strict=True):
        with Image.open(path) as whole, Image.open(file) as mask:
            width, height = whole.size
            side = min(width, height)
            size = (int(48 * width / side), int(48 * height / side))
            left, top = (int(round((full - 48) / 2.0)) for full in size)  # noqa: RUF046
            box = (left, top, left + 48, top + 48)
            pillow = np.array(whole.resize(size, Image.Resampling.BILINEAR).crop(box))
            labels = np.array(mask.resize(size, Image.Resampling.NEAREST).crop(box))
        assert (target.numpy() == labels).all()
        assert (pixels(image).permute(1, 2, 0) - torch.from_numpy(pillow)).abs().max() < 1.5


def coordinates(tmp_path, count: int, height: int = 80, width: int = 100) -> MaskFiles:
    """Images whose red grows by 2 a column and green by 2 a row; labels are columns // 10."""
    columns, rows = np.meshgrid(np.arange(width, dtype=np.uint8), np.arange(height, dtype=np.uint8))
    split = pairs(tmp_path, [columns // 10], 10)
    Image.fromarray(np.stack([columns * 2, rows * 2, rows], 2)).save(split.images[0])
    return MaskFiles(split.images * count, split.masks * count, 10)


def test_scale_place_and_flip_are_as_asked(tmp_path):
    """Read off the images: the step of red from one column to the next is 2 / factor, its sign is the flip."""
    factors, mirrored, lefts = [], [], []
    for image, target in walked(coordinates(tmp_path, 400), epochs=1, crop=32, augment=MaskAugment()):
        red = pixels(image)[0, 15]
        assert not (target == 255).any()  # 80 × 0.5 is 40: the crop is always full
        step = float(red[31 - 4] - red[4]) / (27 - 4)
        factors.append(2 / abs(step))
        mirrored.append(step < 0)
        middle = (red[:-1] + red[1:])[5:-5] / 40  # between columns; labels are 20 reds wide
        agree = (middle - 0.05).floor() == target[15, 5:-6]
        assert agree.float().mean() > 0.7
        lefts.append(float(red.min()) / 2)
    assert 0.47 < min(factors) < 0.55
    assert 1.9 < max(factors) < 2.1
    assert abs(np.mean(factors) - 1.25) < 0.07
    assert abs(np.mean(mirrored) - 0.5) < 0.09
    assert min(lefts) < 2
    assert max(lefts) > 75


@given(
    height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 99), crop=st.sampled_from([16, 48]),
    name=st.sampled_from(sorted(LOOKS)),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_size_works(tmp_path_factory, height, width, seed, crop, name):
    split = pairs(tmp_path_factory.mktemp("any"), [np.full((height, width), 5, np.uint8)], 6)
    for image, target in walked(split, epochs=1, crop=crop, seed=seed, **LOOKS[name]):
        assert set(target.unique().tolist()) <= {5, 255}
        assert (target == 5).any()
        assert torch.isfinite(image).all()
        assert ((pixels(image) - torch.tensor(COLOURS[5])[:, None, None])[:, target == 5].abs() < 1.01).all()
