"""Which parameters are prunable: the weights of convolutions and linear layers, by type."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd

from checkpoints.errors import InputError


def prunable(model: nn.Module, exclude: Iterable[str] = ()) -> dict[str, nn.Parameter]:
    """Return the prunable weights by parameter name, in the order of the model's modules.

    Biases and norms are never pruned. ``exclude`` holds globs over module names (``"fc"``, ``"layer1.*"``). A
    weight that several modules share is listed once.

    Raises:
        InputError: a glob matches no prunable module, or nothing prunable is left.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, (_ConvNd, nn.Linear))}
    kept = dict(layers)
    for glob in exclude:
        hit = [name for name in layers if fnmatchcase(name, glob)]
        if not hit:
            raise InputError(
                f"exclude={glob!r} matches no Conv or Linear module; the modules are named like {_some(layers)}"
            )
        for name in hit:
            kept.pop(name, None)
    if not kept:
        what = "every Conv and Linear module is excluded" if layers else "the model has no Conv or Linear module"
        raise InputError(f"nothing to prune: {what}")
    computed = [name for name, module in kept.items() if not isinstance(module.weight, nn.Parameter)]
    if computed:
        raise InputError(
            f"the weight of {_some(computed)} is computed by a parametrization and cannot be set to 0; remove it with "
            "torch.nn.utils.parametrize.remove_parametrizations, or exclude the module"
        )
    weights: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, module in kept.items():
        if id(module.weight) not in seen:
            seen.add(id(module.weight))
            weights[f"{name}.weight" if name else "weight"] = module.weight
    return weights


def _some(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:3]) or "(none)"
