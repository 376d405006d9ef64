"""A convolution as products of weights with shifted pieces of one line of numbers."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from math import prod

from torch import Tensor

from transfer.export.sparse.kernel import dealing

TILE = 4096
"""Positions that are computed at a time; their sums fit into the nearest cache."""


@dataclass(frozen=True)
class Window:
    """How a convolution's window moves; each pair is of rows and columns.

    Attributes:
        size: of the window.
        stride: between positions.
        padding: zeros at each side.
        dilation: between the window's elements.
        groups: in which inputs and outputs are divided.
    """

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def outputs(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of the result, from those of the image."""
        rows, columns = (
            (side + 2 * self.padding[i] - self.dilation[i] * (self.size[i] - 1) - 1) // self.stride[i] + 1
            for i, side in enumerate(sides)
        )
        return rows, columns

    @property
    def subsamples(self) -> bool:
        """Whether the window is one position of an image without padding, so that only some positions are read."""
        return self.size == (1, 1) and self.padding == (0, 0)


@dataclass(frozen=True)
class Planes:
    """The planes into which a channel is laid out for one size of images.

    With a stride s, a padded channel is dealt to s · s planes, so that each element of the window reads one plane, at a
    fixed shift: the result's position t is the sum of the weights times the line's elements at their place + t.

    Attributes:
        window: the convolution's.
        sides: height and width of the image.
        result: height and width of the result.
        plane: height and width of a plane; its width is the distance of two lines of the result.
    """

    window: Window
    sides: tuple[int, int]
    result: tuple[int, int]
    plane: tuple[int, int]

    @classmethod
    def of(cls, window: Window, sides: tuple[int, int]) -> Planes:
        """Return the planes for an image's height and width."""
        result = window.outputs(sides)
        if window.subsamples:
            return cls(window, sides, result, result)
        reach = [window.dilation[i] * (window.size[i] - 1) // window.stride[i] for i in (0, 1)]
        return cls(window, sides, result, (result[0] + reach[0], result[1] + reach[1]))

    @functools.cached_property
    def lines(self) -> tuple[int, int, int]:
        """Return written and computed positions of a line, and those of a tile; short whole lines are joined."""
        height, width = self.result
        pitch = self.plane[1]
        if pitch > width:
            return width, pitch, pitch * max(1, TILE // pitch)
        joined = max(n for n in range(1, height + 1) if height % n == 0 and (n == 1 or n * width <= TILE))
        return joined * width, joined * width, joined * width

    def places(self, channel: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return where in the line the elements (row, column) of the window on input channels begin, int64."""
        if self.window.subsamples:
            return channel * prod(self.plane)
        (down, right), (sy, sx) = self.window.dilation, self.window.stride
        y, x = row * down, column * right
        number = (channel * sy + y % sy) * sx + x % sx
        return number * prod(self.plane) + y // sy * self.plane[1] + x // sx

    def lay(self, x: Tensor) -> Tensor:
        """Return images (N, C, height, width), without a gradient, as lines (N, C · planes · height · width)."""
        sy, sx = self.window.stride
        if self.window.subsamples:
            return x[:, :, ::sy, ::sx].reshape(len(x), -1)
        planes = x.new_empty(*x.shape[:2], sy, sx, *self.plane)
        dealing()(x.contiguous().numpy(), *self.window.padding, planes.numpy())
        return planes.view(len(x), -1)
