"""Analysis of pruned networks: neural tangent kernel, multiply-adds, overlap of masks.

Import from the files: ``transfer.analysis.ntk``, ``transfer.analysis.flops``, ``transfer.analysis.overlap``.
"""
