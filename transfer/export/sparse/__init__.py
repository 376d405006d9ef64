"""A pruned network for the processor that skips its zeros."""

from transfer.export.sparse.choice import Choice
from transfer.export.sparse.model import SparseModel, sparse_model

__all__ = ["Choice", "SparseModel", "sparse_model"]
