"""The batched geometry against torchvision, one image at a time, on the drawn parameters."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from transfer.data import geometry
from transfer.data.augment import Augment
from transfer.data.draws import draw
from transfer.data.sampler import generator


@pytest.mark.parametrize("pad", [0, 3])
def test_pad_crop_and_flip(images, pad):
    pixels = images(40, side=9).pixels[..., :7]
    draws = draw(Augment(pad_crop=pad, flip=True), 40, 9, 7, generator("test", 0))
    assert 5 < int(draws.flip.sum()) < 35
    for i, cropped in enumerate(geometry.pad_crop(pixels, pad, draws)):
        expected = reference.crop(reference.pad(pixels[i], [pad]), int(draws.top[i]), int(draws.left[i]), 9, 7)
        assert torch.equal(cropped, reference.horizontal_flip(expected) if draws.flip[i] else expected)


@pytest.mark.parametrize("size", [4, 11, 30])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resized_crop_and_flip(images, size, interpolation):
    pixels = images(30, side=17).pixels[..., :13]
    augment = Augment(resized_crop=(0.05, 1), flip=True)
    draws = draw(augment, 30, 17, 13, generator("test", 1))
    for i, cropped in enumerate(geometry.resized_crop(pixels, size, interpolation, draws)):
        box = [int(side[i]) for side in (draws.top, draws.left, draws.height, draws.width)]
        mode = InterpolationMode(interpolation)
        expected = reference.resized_crop(pixels[i].float(), *box, [size, size], mode, antialias=True).clamp(0, 255)
        expected = reference.horizontal_flip(expected) if draws.flip[i] else expected
        torch.testing.assert_close(cropped, expected, atol=2e-3, rtol=0)


def test_each_offset_of_a_pad_crop_is_as_likely():
    draws = draw(Augment(pad_crop=2), 50_000, 8, 8, generator("test", 2))
    for offsets in (draws.top, draws.left):
        shares = torch.bincount(offsets, minlength=5) / 50_000
        torch.testing.assert_close(shares, torch.full((5,), 0.2), atol=0.01, rtol=0)


def test_boxes_lie_in_the_image_with_area_and_ratio_as_asked():
    draws = draw(Augment(resized_crop=(0.1, 0.8), ratio=(0.8, 1.25)), 20_000, 64, 48, generator("test", 3))
    assert (draws.top >= 0).all()
    assert (draws.left >= 0).all()
    assert (draws.top + draws.height <= 64).all()
    assert (draws.left + draws.width <= 48).all()
    area = draws.height * draws.width / (64 * 48)
    ratio = draws.width / draws.height
    assert 0.09 < area.min() < 0.12
    assert 0.7 < area.max() < 0.83
    assert 0.75 < ratio.min() < 0.82
    assert 1.22 < ratio.max() < 1.35


@pytest.mark.parametrize(("sides", "largest"), [((100, 4), (5, 4)), ((4, 100), (4, 5))])
def test_where_no_box_fits_the_largest_of_an_allowed_ratio_is_taken(sides, largest):
    draws = draw(Augment(resized_crop=(0.9, 1), ratio=(0.8, 1.25)), 3, *sides, generator("test", 4))
    assert [(int(h), int(w)) for h, w in zip(draws.height, draws.width, strict=True)] == [largest] * 3
