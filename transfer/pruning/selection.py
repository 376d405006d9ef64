"""Exact selection of the weights with the largest scores, over layers of any dynamic range.

A float64 is ordered like its bits (negative numbers apart, see ``_ordered``), so the threshold is found as in a radix
sort: a histogram over the top 16 bits names one bin, and only what lies in that bin is sorted. This is exact under
ties, zeros and scores that span hundreds of orders of magnitude, and several times faster than ``torch.kthvalue``
(scripts/bench_scoring.py).
"""

import sys
from collections.abc import Mapping

import torch
from torch import Tensor

_SIGN = torch.iinfo(torch.int64).min
_TOP = 3 if sys.byteorder == "little" else 0  # which 16-bit word of a float64 holds its sign, exponent and first bits


def select(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], keep: int) -> dict[str, Tensor]:
    """Keep the ``keep`` largest scores among the weights that the masks still keep.

    Ties go to the earlier position: layers in the order of ``scores``, weights in storage order.

    Args:
        scores: float64 scores by parameter name, any shape, finite.
        masks: bool masks of the same names and shapes; True = kept so far.
        keep: how many to keep, from 0 to the number kept so far.

    Returns:
        New masks with exactly ``keep`` True in all, each a subset of the old one.
    """
    words = {name: _ordered(score.detach().reshape(-1)) for name, score in scores.items()}
    alive = {name: masks[name].reshape(-1) for name in scores}
    if keep == 0:
        return {name: torch.zeros_like(masks[name]) for name in scores}
    cut, ties = _threshold(words, alive, keep)
    chosen = {}
    for name, word in words.items():
        mask = (word > cut) & alive[name]
        if ties > 0:
            level = torch.nonzero((word == cut) & alive[name]).view(-1)[:ties]
            mask[level] = True
            ties -= len(level)
        chosen[name] = mask.view(masks[name].shape)
    return chosen


def _ordered(score: Tensor) -> Tensor:
    """Return int64 words whose order is the order of the float64 scores; −0.0 counts as 0.0."""
    word = (score.to(torch.float64) + 0.0).view(torch.int64)
    if bool((word < 0).any()):  # two's complement runs the wrong way for negative floats
        word = torch.where(word < 0, _SIGN - word, word)
    return word


def _threshold(words: dict[str, Tensor], alive: dict[str, Tensor], keep: int) -> tuple[int, int]:
    """Return the keep-th largest word and how many words equal to it are to be kept."""
    counts = torch.zeros(1 << 16, dtype=torch.int64)
    for name, word in words.items():
        counts += torch.bincount(_bins(word)[alive[name]], minlength=1 << 16).cpu()
    above = counts.flip(0).cumsum(0).flip(0)  # words in this bin or a higher one
    bin_ = int(torch.nonzero(above >= keep).max())
    rest = keep - (int(above[bin_ + 1]) if bin_ + 1 < len(above) else 0)
    level = torch.cat([word[(_bins(word) == bin_) & alive[name]].cpu() for name, word in words.items()])
    cut = int(torch.kthvalue(level, len(level) - rest + 1).values)
    return cut, rest - int((level > cut).sum())


def _bins(word: Tensor) -> Tensor:
    """Return the top 16 bits of each word as 0 … 65535, in the words' order."""
    return word.view(torch.int16)[_TOP::4].to(torch.int32) + (1 << 15)
