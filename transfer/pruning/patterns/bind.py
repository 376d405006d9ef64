"""Apply a pattern to the layers of a model."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.pruning import schedule
from transfer.pruning.patterns.blocks import BlockConstraint
from transfer.pruning.patterns.channels import Channels, channels
from transfer.pruning.patterns.constraint import Constraint
from transfer.pruning.patterns.groups import GroupConstraint
from transfer.pruning.patterns.text import Blocks, Groups, parse

_LISTED = 12  # layers named in the offer of what to exclude


def bind(
    text: str, model: nn.Module, weights: Mapping[str, Tensor], *, sparsity: float, exclude: Iterable[str] = ()
) -> Constraint | None:
    """Return the constraint that a pattern puts on the weights; None for ``none``.

    Args:
        text: ``N:M``, ``RxC`` or ``none``.
        model: neither wrapped nor changed.
        weights: the prunable ones by name.
        sparsity: final fraction of removed weights, in [0, 1).
        exclude: globs that are excluded already, for the error message.

    Raises:
        InputError: the pattern is unknown, a layer's channels do not divide into it, or the sparsity does not suit it.
    """
    pattern = parse(text)
    if pattern is None:
        return None
    axes = channels(model, weights)
    _check_shapes(pattern, axes, tuple(exclude))
    keep = schedule.kept(sum(weight.numel() for weight in weights.values()), sparsity)
    found = GroupConstraint(axes, pattern) if isinstance(pattern, Groups) else BlockConstraint(axes, pattern)
    found.check(keep, sparsity)
    return found


def _check_shapes(pattern: Groups | Blocks, axes: Mapping[str, Channels], exclude: tuple[str, ...]) -> None:
    unfit = [name for name, a in axes.items() if a.outputs % pattern.outputs or a.inputs % pattern.inputs]
    if not unfit:
        return
    first, layers = axes[unfit[0]], [name.removesuffix(".weight") for name in unfit]
    which, size = ("input", pattern.inputs) if first.inputs % pattern.inputs else ("output", pattern.outputs)
    count = first.inputs if which == "input" else first.outputs
    each = " a group" if first.groups > 1 else ""
    others = f" (nor do those of {len(unfit) - 1} more)" if len(unfit) > 1 else ""
    names = " ".join([*exclude, *layers[:_LISTED]]) + (" ..." if len(unfit) > _LISTED else "")
    raise InputError(
        f"layer {layers[0]} has {count} {which} channel{'s' * (count != 1)}{each}, which do not divide by the {size} "
        f"of pattern {pattern}{others}; give --prune.exclude {names}, or another pattern"
    )
