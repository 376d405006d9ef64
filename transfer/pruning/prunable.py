"""Select the prunable parameters: the weights of convolution and linear modules, by type."""

from collections.abc import Hashable, Iterable, Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from checkpoints.errors import InputError
from transfer.pruning.tied import place, refuse_overlaps


def prunable(model: nn.Module, exclude: Iterable[str] = ()) -> dict[str, nn.Parameter]:
    """Return the prunable weights by parameter name, in the order of ``model.named_parameters()``.

    Biases and norms are never pruned. A weight shared by several modules, as one parameter or as several over the same
    memory, is listed once, and not at all if one of these modules is excluded.

    Args:
        model: neither wrapped nor uninitialised.
        exclude: globs over module names (``"fc"``, ``"layer1.*"``).

    Raises:
        InputError: a glob matches no prunable module, a weight is computed or overlaps another parameter, nothing
            prunable is left, or the model is wrapped or not initialised.
    """
    _refuse_unready(model)
    if isinstance(exclude, str):
        raise InputError(f"exclude is the text {exclude!r}; give a list of globs, such as [{exclude!r}]")
    modules = dict(model.named_modules(remove_duplicate=False))
    layers = {name: m for name, m in modules.items() if isinstance(m, (_ConvNd, nn.Linear))}
    left = {_key(m): (name, m) for name, m in reversed(layers.items())}
    holders = {name: keys for name, m in modules.items() if (keys := _held(m) & left.keys())}
    for glob in exclude:
        hit = [keys for name, keys in holders.items() if fnmatchcase(name, glob)]
        if not hit:
            raise InputError(
                f"exclude={glob!r} matches no Conv or Linear module; the modules are named like {_some(layers)}"
            )
        for key in set().union(*hit):
            left.pop(key, None)
    if not left:
        what = "every Conv and Linear module is excluded" if layers else "the model has no Conv or Linear module"
        raise InputError(f"nothing to prune: {what}")
    for key, (name, module) in left.items():
        if key == id(module):
            raise InputError(
                f"the weight of {name or type(module).__name__} is computed and cannot be set to 0; make it a plain "
                f"weight with {_remedy(module)}, or exclude the module"
            )
    found: dict[Hashable, tuple[str, nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if (key := place(weight)) in left:
            found.setdefault(key, (name, weight))
    weights = dict(found.values())
    refuse_overlaps(model, weights)
    return weights


def _refuse_unready(model: nn.Module) -> None:
    if isinstance(model, nn.DataParallel):
        raise InputError("the model is wrapped in nn.DataParallel; give model.module")
    for name, module in model.named_modules():
        if any(is_lazy(x) for x in (*module.parameters(recurse=False), *module.buffers(recurse=False))):
            raise InputError(
                f"layer {name or '(the model)'} ({type(module).__name__}) has no weights yet; run the model on one "
                "batch first"
            )


def zeros(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return the number of zero weights and the total number of weights."""
    return sum(int((w == 0).sum()) for w in weights.values()), sum(w.numel() for w in weights.values())


def refuse_half(*tensors: Tensor) -> None:
    """Reject complex tensors and 16-bit floats, which lose products over layers and squared gradients.

    Raises:
        InputError: a tensor is complex or 16-bit; names the dtype and a remedy.
    """
    for tensor in tensors:
        if tensor.is_complex():
            raise InputError(
                f"scores are of real weights, not {tensor.dtype}; exclude their layers, or choose magnitude"
            )
        if torch.finfo(tensor.dtype).bits < 32:
            raise InputError(f"scores are lost in {tensor.dtype}; score model.float() on float32 images, then convert")


def _key(layer: nn.Module) -> Hashable:
    """Return the identity of a layer's weight: its memory, or the module if its weight is computed."""
    weight = layer._parameters.get("weight")
    return id(layer) if weight is None else place(weight)


def _held(module: nn.Module) -> set[Hashable]:
    return {id(module), *(place(p) for p in module.parameters(recurse=False))}


def _remedy(module: nn.Module) -> str:
    if parametrize.is_parametrized(module, "weight"):
        return "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight')"
    for mark, remedy in _REMEDIES.items():
        if hasattr(module, mark):
            return remedy
    return "module.weight = torch.nn.Parameter(module.weight.detach())"


_REMEDIES = {  # attributes that torch's legacy reparametrizations leave on a module
    "weight_mask": "torch.nn.utils.prune.remove(module, 'weight')",
    "weight_g": "torch.nn.utils.remove_weight_norm(module)",
    "weight_u": "torch.nn.utils.remove_spectral_norm(module)",
}


def _some(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:3]) or "(none)"
