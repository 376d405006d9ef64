"""Backbone + task head → nn.Module."""

from transfer.models.classifier import classifier
from transfer.models.deeplab import segmenter

__all__ = ["classifier", "segmenter"]
