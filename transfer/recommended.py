"""The method that is used unless another is named: near the best on each pair of benchmarks/methods-*.csv.

Its rounds and statistics are its defaults in the registry of methods. Not in ``transfer.pruning``, which imports torch:
``--help`` shows this name too.
"""

RECOMMENDED = "ntk-trace"
