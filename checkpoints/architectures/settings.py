"""timm's settings of a network for small images: how they are prepared, and where its first layer and head
are.
"""

from __future__ import annotations

from typing import Any

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)
MNIST_MEAN = (0.1307,) * 3  # one channel, three times
MNIST_STD = (0.3081,) * 3


def cifar(**others: Any) -> dict[str, Any]:
    """Return the settings for 32-pixel images with CIFAR-10's normalisation, ``others`` added."""
    return {"input_size": (3, 32, 32), "mean": CIFAR10_MEAN, "std": CIFAR10_STD} | _SHARED | others


def mnist(**others: Any) -> dict[str, Any]:
    """Return the settings for 28-pixel images with MNIST's normalisation, ``others`` added."""
    return {"input_size": (3, 28, 28), "mean": MNIST_MEAN, "std": MNIST_STD} | _SHARED | others


_SHARED = {"num_classes": 10, "interpolation": "bilinear", "crop_pct": 1.0, "classifier": "fc"}
