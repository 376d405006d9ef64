"""Build models: a backbone with a task head."""

from transfer.models.classifier import classifier
from transfer.models.deeplab import segmenter

__all__ = ["classifier", "segmenter"]
