"""EfficientNet-PyTorch's keys (``_conv_stem``, ``_blocks.0._depthwise_conv``, …) → timm's, for the lite variants."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from torch import Tensor

OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
WITHOUT_EXPANSION = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
WITH_EXPANSION = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
BLOCK = re.compile(r"_blocks\.(\d+)\.(.+)")


def is_style(weights: Mapping[str, Tensor]) -> bool:
    """Return whether a file has keys in this style."""
    return "_conv_stem.weight" in weights and any(BLOCK.match(key) for key in weights)


def renamed(weights: Mapping[str, Tensor], trunk: Iterable[str]) -> dict[str, Tensor]:
    """Return the same tensors in timm's keys.

    The file numbers its blocks across all stages, timm within each stage; the keys of the ``trunk`` give the number
    of blocks per stage. A key that the style does not have, and a block beyond the last stage, keep their names, so
    that a comparison of keys reports them as left over.
    """
    places = _places(trunk)
    expanded = {match[1] for match in map(BLOCK.match, weights) if match and match[2].startswith("_expand_conv.")}
    return {_key(key, places, expanded): value for key, value in weights.items()}


def _places(trunk: Iterable[str]) -> list[str]:
    """Return timm's name of each block, in order: blocks.0.0, blocks.1.0, blocks.1.1, …"""
    blocks = {match[0]: int(match[1]) for match in (re.match(r"blocks\.(\d+)\.\d+\.", key) for key in trunk) if match}
    depths = Counter(blocks.values())
    return [f"blocks.{stage}.{i}" for stage in sorted(depths) for i in range(depths[stage])]


def _key(key: str, places: list[str], expanded: set[str]) -> str:
    match = BLOCK.match(key)
    names = OUTSIDE if match is None else WITH_EXPANSION if match[1] in expanded else WITHOUT_EXPANSION
    layer, _, kind = (key if match is None else match[2]).partition(".")
    if layer not in names or (match is not None and int(match[1]) >= len(places)):
        return key
    place = "" if match is None else f"{places[int(match[1])]}."
    return f"{place}{names[layer]}.{kind}"
