"""What the papers' networks share: timm's interface of a trunk with a linear head."""

from __future__ import annotations

from timm.layers import create_classifier
from torch import Tensor, nn

from .kaiming import kaiming_normal


class Network(nn.Module):
    """A trunk and a linear head ``fc`` over its pooled features, under timm's interface.

    ``num_classes=0`` has no head, ``global_pool=""`` keeps the map. A subclass makes its trunk, then calls
    :meth:`add_head`, and defines ``forward_features``.
    """

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans

    def add_head(self, features: int, global_pool: str) -> None:
        """Make the head over ``features`` channels, and draw all weights."""
        self.num_features = self.head_hidden_size = features
        self.make_head(global_pool)
        self.apply(kaiming_normal)

    def make_head(self, global_pool: str) -> None:
        """Make the pooling and the head."""
        self.global_pool, self.fc = create_classifier(self.num_features, self.num_classes, pool_type=global_pool)

    def get_classifier(self) -> nn.Module:
        """Return the head: a Linear, or an Identity when there is none."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """Replace the head by a new one of ``num_classes`` outputs; 0 removes it."""
        self.num_classes = num_classes
        self.make_head(global_pool)
        self.fc.apply(kaiming_normal)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images → features: a subclass's own."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Features → (N, num_classes), or pooled (N, num_features) with ``pre_logits``."""
        x = self.global_pool(x)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) → (N, num_classes)."""
        return self.forward_head(self.forward_features(x))
