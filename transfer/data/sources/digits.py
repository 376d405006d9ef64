"""scikit-learn's 1,797 handwritten digits, 8 px: they ship with the package, so no network is needed."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from transfer.data.dataset import Dataset, Images

TOP = 16  # the brightest value of the 8 × 8 images


def load(root: Path) -> Dataset:
    """Load the digits at 32 px (8 px ×4, bilinear), three equal channels; ``root`` is not used.

    The split is fixed: with the images sorted by class, every fifth is a test image (360) and the rest are for
    training (1,437), so that each class gives a fifth of its images, to within one.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] * (255 / TOP)
    pixels = F.interpolate(small, (32, 32), mode="bilinear").round().to(torch.uint8).expand(-1, 3, -1, -1)
    images = Images(pixels.contiguous(), torch.tensor(digits.target, dtype=torch.int64))
    test = torch.zeros(len(images), dtype=torch.bool)
    test[images.labels.argsort(stable=True)[::5]] = True
    train, held = images.subset((~test).nonzero()[:, 0]), images.subset(test.nonzero()[:, 0])
    return Dataset("digits", train, held, tuple(str(d) for d in range(10)), "test")
