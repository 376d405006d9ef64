"""Convert the key styles of published trunks to timm's keys; check that all keys and shapes are right."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from . import efficientnet_keys
from .errors import InputError
from .trunk import Trunk

# The prefixes of the trunk's keys: nothing (torchvision, timm), MoCo v1 and v2, MoCo v3, DINO, others.
PREFIXES = ("", "encoder_q.", "base_encoder.", "backbone.", "encoder.")
KEY_ENCODERS = ("encoder_k.", "momentum_encoder.")  # of MoCo: slow averages that the papers do not transfer
WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")  # torch.compile around or in DistributedDataParallel
STEP_COUNTER = "num_batches_tracked"


def to_trunk(weights: Mapping[str, Tensor], trunk: Trunk, origin: str) -> dict[str, Tensor]:
    """Return exactly the trunk's tensors in its keys and dtypes.

    Styles: torchvision and timm, MoCo (``module.encoder_q.``; the key encoder and the queue are dropped),
    DINO (``module.backbone.``), any other single prefix (Lightning's ``model.``), open_clip (``visual.``),
    EfficientNet-PyTorch (``_blocks.``; the lite variants) and what timm's own filter knows. The old head is
    dropped. BatchNorm step counters, which old files lack, are 0.

    Raises:
        InputError: keys are missing or left over, or shapes differ; the line names ``origin``.
    """
    weights, expected = _unwrapped(weights), trunk.tensors
    found = _under_best_prefix(weights, expected)
    if _missing(found, expected):
        found = _under_best_prefix(_filtered(weights, trunk), expected)
    _assert_complete(found, trunk, origin)
    _assert_shapes(found, trunk, origin)
    return {key: _value(found, key, like) for key, like in expected.items()}


def is_untrained(weights: Mapping[str, Tensor]) -> bool:
    """Return whether every BatchNorm still has its initial statistics: mean 0 and variance 1."""
    means = [value for key, value in weights.items() if key.endswith("running_mean")]
    variances = [value for key, value in weights.items() if key.endswith("running_var")]
    unmoved = all(bool((mean == 0).all()) for mean in means)
    return bool(variances) and unmoved and all(bool((variance == 1).all()) for variance in variances)


def _unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if all(key.startswith(wrapper) for key in weights):
            weights = {key.removeprefix(wrapper): value for key, value in weights.items()}
    return dict(weights)


def _under_best_prefix(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keep the keys under the prefix that gives the most of the expected keys."""
    best = max(
        (*PREFIXES, *_other_prefix(weights, expected)),
        key=lambda prefix: sum(prefix + key in weights for key in expected),
    )
    return {key.removeprefix(best): value for key, value in weights.items() if key.startswith(best)}


def _other_prefix(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return the prefix of an expected key in the file, such as Lightning's ``model.``, if there is exactly one."""
    deepest = max(expected, key=lambda key: key.count("."))
    found = [key.removesuffix(deepest) for key in weights if key.endswith(f".{deepest}")]
    return found if len(found) == 1 and found[0] not in KEY_ENCODERS else []


def _filtered(weights: dict[str, Tensor], trunk: Trunk) -> dict[str, Tensor]:
    """Apply our converter of EfficientNet's keys, or timm's if the architecture has one (byobnet's: ``visual.``)."""
    if efficientnet_keys.is_style(weights):
        return efficientnet_keys.renamed(weights, trunk.tensors)
    filter_fn = getattr(sys.modules[type(trunk.model).__module__], "checkpoint_filter_fn", None)
    if filter_fn is None:
        return weights
    try:
        return filter_fn(dict(weights), trunk.model)
    except (KeyError, AttributeError, TypeError, ValueError, RuntimeError):  # not a file that it knows
        return weights


def _missing(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    return [key for key in expected if key not in found and not key.endswith(STEP_COUNTER)]


def _assert_complete(found: Mapping[str, Tensor], trunk: Trunk, origin: str) -> None:
    missing = _missing(found, trunk.tensors)
    heads = tuple(f"{head}." for head in trunk.heads)
    extra = [key for key in found if key not in trunk.tensors and not key.startswith(heads)]
    if missing or extra:
        raise InputError(
            f"{origin} does not fit {trunk.arch}: {_named(missing)} missing, {_named(extra)} too many; "
            "is it the right architecture?"
        )


def _assert_shapes(found: Mapping[str, Tensor], trunk: Trunk, origin: str) -> None:
    expected = trunk.tensors
    wrong = [key for key, like in expected.items() if key in found and found[key].shape != like.shape]
    if wrong:
        got, wanted = tuple(found[wrong[0]].shape), tuple(expected[wrong[0]].shape)
        raise InputError(
            f"{origin} does not fit {trunk.arch}: {wrong[0]} has shape {got}, expected {wanted} "
            f"({len(wrong)} such keys); is it the right architecture?"
        )


def _named(keys: list[str], most: int = 4) -> str:
    shown = ", ".join(keys[:most]) + (", …" if len(keys) > most else "")
    return f"{len(keys)} keys ({shown})" if keys else "0 keys"


def _value(found: Mapping[str, Tensor], key: str, like: Tensor) -> Tensor:
    if key not in found:
        return torch.zeros(like.shape, dtype=like.dtype)
    return found[key].to(like.dtype).contiguous()
