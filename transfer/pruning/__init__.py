"""Prune a network: score its weights, select those to keep, apply and hold the masks."""

from transfer.pruning.layers import effective_sparsity, live, report
from transfer.pruning.masks import Masks
from transfer.pruning.paths.flow import path_kernel_trace
from transfer.pruning.problem import Problem
from transfer.pruning.rounds import CollapseWarning, default_rounds, prune
from transfer.pruning.saliency import methods, register
from transfer.pruning.scoring import score
from transfer.recommended import RECOMMENDED

__all__ = [
    "RECOMMENDED",
    "CollapseWarning",
    "Masks",
    "Problem",
    "default_rounds",
    "effective_sparsity",
    "live",
    "methods",
    "path_kernel_trace",
    "prune",
    "register",
    "report",
    "score",
]
