"""Select the weights with the largest scores exactly, across layers of any dynamic range.

Non-negative float64 values sort like their bits (for negative ones see :func:`ordered`), so the threshold is found as
in a radix sort: a histogram over the top 16 bits gives one bin, and only that bin is sorted. This is exact under ties,
zeros and scores spanning hundreds of orders of magnitude, and several times faster than ``torch.kthvalue``
(scripts/bench_scoring.py).
"""

import sys
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_LOWEST = torch.iinfo(torch.int64).min  # below every finite score: pruned weights
_TOP = 3 if sys.byteorder == "little" else 0  # the 16-bit part of a float64 with sign, exponent and first bits
_HALF = 1 << 15


def select(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], keep: int) -> dict[str, Tensor]:
    """Keep the ``keep`` largest scores among the weights that the masks still keep.

    Ties go to the earlier position: layers in the order of ``scores``, weights in storage order.

    Args:
        scores: finite float64 scores by parameter name, any shape.
        masks: bool masks of the same names and shapes; True = kept so far.
        keep: how many to keep, from 0 to the number kept so far.

    Returns:
        New masks with exactly ``keep`` True entries in total, each a subset of the old one.
    """
    if keep == 0:
        return {name: torch.zeros_like(masks[name]) for name in scores}
    words = {name: ordered(score, masks[name]) for name, score in scores.items()}
    cut, spare = threshold(words.values(), keep)
    chosen = {}
    for name in reversed(words):  # among words equal to the cut, drop the last ``spare``
        mask = words[name] >= cut
        if spare:
            level = torch.nonzero(words[name] == cut).view(-1)[-spare:]
            mask[level] = False
            spare -= len(level)
        chosen[name] = mask.view(masks[name].shape)
    return {name: chosen[name] for name in scores}


def ordered(score: Tensor, mask: Tensor) -> Tensor:
    """Return flat int64 words that sort like the float64 scores; −0.0 equals 0.0, pruned weights are lowest."""
    word = score.detach().to(torch.float64).contiguous().view(torch.int64).view(-1)
    if int(word.min()) < 0:  # two's complement reverses the order of negative floats
        word = torch.where(word < 0, _LOWEST - word, word)
    return word if bool(mask.all()) else word.masked_fill(~mask.reshape(-1), _LOWEST)


def threshold(words: Iterable[Tensor], keep: int) -> tuple[int, int]:
    """Return the ``keep``-th largest word, and by how much the number of words not below it exceeds ``keep``."""
    words = list(words)
    counts = torch.zeros(2 * _HALF, dtype=torch.int64)
    for word in words:
        if int(word.min()) < 0:
            counts += torch.bincount(_top(word).to(torch.int32) + _HALF, minlength=2 * _HALF).cpu()
        else:
            counts[_HALF:] += torch.bincount(_top(word), minlength=_HALF).cpu()
    above = counts.flip(0).cumsum(0).flip(0)  # words in this bin or a higher one
    bin_ = int(torch.nonzero(above >= keep).max())
    rest = keep - (int(above[bin_ + 1]) if bin_ + 1 < len(above) else 0)
    level = torch.cat([word[_top(word) == bin_ - _HALF].cpu() for word in words])
    cut = int(torch.kthvalue(level, len(level) - rest + 1).values)
    return cut, int((level >= cut).sum()) - rest


def _top(word: Tensor) -> Tensor:
    return word.view(torch.int16)[_TOP::4]
