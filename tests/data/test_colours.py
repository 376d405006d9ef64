"""Random colours of a batch against torchvision's functions, one image at a time."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from transfer.data.augment import Augment
from transfer.data.colours import Colours, draw, recolour
from transfer.data.sampler import generator

PIXELS = torch.randint(0, 256, (6, 3, 9, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def by_hand(image: torch.Tensor, brightness: float, contrast: float, saturation: float, gray: bool) -> torch.Tensor:
    found = image.float() / 255
    found = reference.adjust_brightness(found, brightness)
    found = reference.adjust_contrast(found, contrast)
    found = reference.adjust_saturation(found, saturation)
    return 255 * (reference.rgb_to_grayscale(found, num_output_channels=3) if gray else found)


def test_it_is_torchvisions():
    colours = draw(Augment(jitter=0.8, grayscale=0.5), len(PIXELS), generator("test", 0))
    assert 0 < int(colours.gray.sum()) < len(PIXELS)
    found = recolour(PIXELS, colours)
    assert found.dtype == torch.float32
    for image, got, factors, gray in zip(PIXELS, found, colours.factors.T.tolist(), colours.gray, strict=True):
        torch.testing.assert_close(got, by_hand(image, *factors, bool(gray)), atol=0.02, rtol=0)


def test_factors_of_one_change_nothing():
    same = Colours(torch.ones(3, len(PIXELS)), torch.zeros(len(PIXELS), dtype=torch.bool))
    assert torch.equal(recolour(PIXELS, same), PIXELS.float())


def test_an_image_has_the_same_bits_in_any_batch():
    pixels = torch.randint(0, 256, (5, 3, 67, 61), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    colours = draw(Augment(jitter=0.4, grayscale=0.2), len(pixels), generator("test", 1))
    whole = recolour(pixels, colours)
    for i in range(len(pixels)):
        rows = slice(i, i + 1)
        assert torch.equal(recolour(pixels[rows], colours.rows(rows)), whole[rows])


@pytest.mark.parametrize(("jitter", "grayscale"), [(0.4, 0.2), (1.0, 0.0), (0.0, 1.0)])
def test_draws_have_the_stated_range_and_share(jitter, grayscale):
    colours = draw(Augment(jitter=jitter, grayscale=grayscale), 20_000, generator("test", 2))
    assert float((colours.factors - 1).abs().max()) <= jitter + 1e-6
    assert colours.factors.mean(1).tolist() == pytest.approx([1, 1, 1], abs=0.02)
    assert float(colours.factors.std()) == pytest.approx(2 * jitter / 12**0.5, abs=0.01)
    assert float(colours.gray.float().mean()) == pytest.approx(grayscale, abs=0.02)
