"""Overlap of two masks: the Jaccard index of their kept weights."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from checkpoints.errors import InputError


@dataclass(frozen=True)
class Overlap:
    """Weights kept by both over weights kept by either, in [0, 1]: in total, and by parameter name.

    1 where neither keeps a weight: the masks are equal there.
    """

    total: float
    layers: dict[str, float]


def overlap(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Overlap:
    """Return the Jaccard index abs(a ∧ b) / abs(a ∨ b) of two masks, True = kept.

    Raises:
        InputError: the masks are not of the same weights.
    """
    _check(a, b)
    both = {name: int((mask & b[name].to(mask.device)).sum()) for name, mask in a.items()}
    either = {name: int((mask | b[name].to(mask.device)).sum()) for name, mask in a.items()}
    return _ratio(both, either)


def expected_overlap(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Overlap:
    """Return the overlap of two independent random masks with the densities of ``a`` and ``b`` in each layer.

    The excess of :func:`overlap` over it is agreement on the weights within layers. With kept fractions p and q, both
    keep a weight with probability p·q, and either does with p + q − p·q; the result is the ratio of the expected
    counts, which the expected ratio approaches in layers of more than a few kept weights.

    Raises:
        InputError: the masks are not of the same weights.
    """
    _check(a, b)
    both, either = {}, {}
    for name, mask in a.items():
        one, other = int(mask.sum()), int(b[name].sum())
        both[name] = one * other / mask.numel()
        either[name] = one + other - both[name]
    return _ratio(both, either)


def _ratio(both: Mapping[str, float], either: Mapping[str, float]) -> Overlap:
    layers = {name: both[name] / either[name] if either[name] else 1.0 for name in both}
    union = sum(either.values())
    return Overlap(sum(both.values()) / union if union else 1.0, layers)


def _check(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    odd = [name for name in [*a, *b] if name not in a or name not in b]
    if odd:
        raise InputError(
            f"only one of the two masks has {odd[0]}; compare masks of the same model and the same exclude"
        )
    for name, mask in a.items():
        if mask.shape != b[name].shape:
            shapes = f"{tuple(mask.shape)} and {tuple(b[name].shape)}"
            raise InputError(f"the masks of {name} have shapes {shapes}; compare masks of the same model")
