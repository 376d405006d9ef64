"""The fully connected nets of Gebhart et al. 2021: six hidden layers of one width, for MNIST."""

from __future__ import annotations

from typing import Any

from timm.layers import to_2tuple
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from ..errors import InputError
from .network import Network
from .settings import mnist

__all__ = ["FullyConnected"]

_SETTINGS = mnist(pool_size=None, fixed_input_size=True, first_conv=None, paper_ids="arXiv:2101.10552")
default_cfgs = generate_default_cfgs({f"fc_{width}": _SETTINGS for width in (100, 500, 1000, 2000)})


class FullyConnected(Network):
    """A flattened image, ``depth`` hidden layers of ``width`` ReLUs, one Linear.

    The features are a vector already: ``global_pool`` pools nothing.
    """

    def __init__(
        self,
        width: int = 100,
        depth: int = 6,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 28,
        global_pool: str = "avg",
    ) -> None:
        super().__init__(num_classes, in_chans)
        self.img_size: tuple[int, int] = to_2tuple(img_size)
        inputs = in_chans * self.img_size[0] * self.img_size[1]
        self.hidden = nn.Sequential()
        for layer in range(depth):
            self.hidden.append(nn.Linear(inputs if layer == 0 else width, width))
            self.hidden.append(nn.ReLU())
        self.add_head(width, global_pool)

    def make_head(self, global_pool: str) -> None:
        """Make the head; there is nothing to pool."""
        self.global_pool = nn.Identity()
        self.fc = nn.Linear(self.num_features, self.num_classes) if self.num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (N, in_chans, H, W) of the net's own size to (N, width).

        Raises:
            InputError: the images have another size.
        """
        takes = (self.in_chans, *self.img_size)
        if x.shape[1:] != takes:
            raise InputError(
                f"a fully connected net made for images of {takes} got {tuple(x.shape[1:])}; use images of that size "
                f"(data.size={self.img_size[0]}), or make the net with another img_size and in_chans"
            )
        return self.hidden(x.flatten(1))


def _build(width: int, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    return build_model_with_cfg(FullyConnected, f"fc_{width}", pretrained, width=width, **options)


@register_model
def fc_100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Six hidden layers of 100: 286,200 prunable weights with 10 classes and 3×28×28 pixels."""
    return _build(100, pretrained, kwargs)


@register_model
def fc_500(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Six hidden layers of 500: 2,431,000 prunable weights with 10 classes and 3×28×28 pixels."""
    return _build(500, pretrained, kwargs)


@register_model
def fc_1000(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Six hidden layers of 1000: 7,362,000 prunable weights with 10 classes and 3×28×28 pixels."""
    return _build(1000, pretrained, kwargs)


@register_model
def fc_2000(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Six hidden layers of 2000: 24,724,000 prunable weights with 10 classes and 3×28×28 pixels."""
    return _build(2000, pretrained, kwargs)
