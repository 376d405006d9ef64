"""Backbone + task head → nn.Module."""

from transfer.models.classifier import classifier

__all__ = ["classifier"]
