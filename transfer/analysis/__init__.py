"""What a pruned network still is: its neural tangent kernel, its multiply-adds, how much two masks agree.

Import from the files: ``transfer.analysis.ntk``, ``transfer.analysis.flops``, ``transfer.analysis.overlap``.
"""
