"""What a finished run's fine-tuning began with: the pretrained network under the run's masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from checkpoints.errors import InputError
from transfer.pruning import Masks
from transfer.pruning.ablation import redraw_
from transfer.recipe import GMP, IMP, Recipe


def masks_of(folder: Path, recipe: Recipe) -> Masks:
    """Return the masks under which a run's fine-tuning began from the pretrained weights.

    Raises:
        InputError: the run pruned nothing, or began from weights that are not kept.
    """
    path, prune = folder / "masks.safetensors", recipe.prune
    if prune.method == GMP:
        raise InputError(f"the run in {folder} is of gmp, whose fine-tuning began before it pruned; give another run")
    if prune.method == IMP and _rewound(prune.method_options()):
        raise InputError(
            f"the run in {folder} is of imp with {' '.join(prune.options)}: it went on from weights of its training, "
            "which are not kept; give a run of imp without options, or of another method"
        )
    if not path.exists():
        raise InputError(f"the run in {folder} pruned nothing; give a run with --prune.sparsity above 0")
    return Masks.load(path)


def _rewound(options: Mapping[str, Any]) -> bool:
    return bool(options.get("rewind", 0)) or options.get("rewind_to", "weights") != "weights"


def begin_(model: nn.Module, masks: Masks, recipe: Recipe) -> None:
    """Prune a pretrained model in place as the recipe's fine-tuning begins, but for BatchNorm statistics."""
    masks.apply_(model)
    if recipe.prune.ablate == "reinit":
        redraw_(model, masks, recipe.seed)
