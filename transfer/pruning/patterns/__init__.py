"""Patterns of kept weights that sparse kernels can use: N of M consecutive input channels, or whole blocks.

A pattern constrains the selection, so every method, allocation and schedule works with it. It applies at every entry of
the kernel and in every group of a convolution by itself: there, the weight is a matrix of output × input channels, as
that of a linear layer. Kernels that lay a convolution's weight out with the input channels last see N:M in its rows.
"""

from transfer.pruning.patterns.bind import bind
from transfer.pruning.patterns.constraint import Constraint
from transfer.pruning.patterns.text import NONE, check

__all__ = ["NONE", "Constraint", "bind", "check"]
