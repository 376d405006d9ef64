"""The method that is used unless another is named: best by mean rank over the pairs of benchmarks/methods-*.csv.

Its rounds and statistics are its defaults in the registry of methods. Not in ``transfer.pruning``, which imports torch:
``--help`` shows this name too.
"""

RECOMMENDED = "ntk-trace"
