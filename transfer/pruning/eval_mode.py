"""Switch a model to eval mode; restore modes, buffers and RNG afterwards."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.precision import full_float32

_Copies = dict[str, tuple[Tensor, Tensor] | None]
"""By name: a tensor and a copy of its values."""


@contextmanager
def untouched(model: nn.Module, seed: int | None = None) -> Iterator[None]:
    """Switch to eval mode and disable TF32; restore modes, buffers and the global RNG state afterwards.

    With ``seed``, the global RNG is seeded inside the context.

    Buffers are restored too, since an eval-mode forward may still change them: counters, or statistics that are always
    updated. Modes are restored through ``train()``, so that its side effects in a module (dropping a cache, unmerging
    weights) are undone; the module's own parameters are then restored bit for bit. An error inside the context is
    raised even if restoring fails.
    """
    modes = [(module, module.training) for module in model.modules()]
    steps: list[Callable[[], object]] = [partial(_restore_modes, model, modes)]
    for module, _ in modes:
        steps.append(partial(_restore, module._buffers, _copies(module._buffers)))
        passing: set[str] = getattr(module, "_non_persistent_buffers_set", set())
        steps.append(partial(_restore_names, passing, set(passing)))
        if _acts_on_its_mode(module):
            steps.append(partial(_restore, module._parameters, _copies(module._parameters)))
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=cuda), full_float32():
        try:
            if seed is not None:
                reseed(seed)
            model.eval()
            yield
        except BaseException as error:
            for failure in _failures(steps):
                if hasattr(error, "add_note"):  # Python 3.11
                    error.add_note(f"nor could the model be put back as it was: {failure!r}")
            raise
        for failure in _failures(steps):
            raise failure


def reseed(seed: int) -> None:
    """Seed the global RNG of the CPU and, if initialized, of CUDA; use only within :func:`untouched`."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _copies(members: Mapping[str, Tensor | None]) -> _Copies:
    return {key: None if x is None else (x, x.detach().clone()) for key, x in members.items()}


def _acts_on_its_mode(module: nn.Module) -> bool:
    return type(module).train is not nn.Module.train or "train" in vars(module)


def _restore_modes(model: nn.Module, modes: list[tuple[nn.Module, bool]]) -> None:
    try:
        model.train()
        for module, training in modes:  # parents come first
            if module.training != training:
                module.train(training)
    finally:
        for module, training in modes:  # train() of some modules ignores or rejects a mode
            module.training = training


@torch.no_grad()
def _restore(members: Any, copies: _Copies) -> None:
    """Restore a module's tensors: same objects, names and values."""
    owned = {key: pair and pair[0] for key, pair in copies.items()}
    if list(members.keys()) != list(owned):
        members.clear()
        members.update(owned)
    for key, pair in copies.items():
        if members[key] is not owned[key]:
            members[key] = owned[key]
        if pair is None:
            continue
        tensor, before = pair
        if (tensor.shape, tensor.dtype, tensor.device) != (before.shape, before.dtype, before.device):
            tensor.data = before
        elif not torch.equal(tensor, before):
            tensor.copy_(before)


def _restore_names(names: set[str], before: set[str]) -> None:
    names.clear()
    names.update(before)


def _failures(steps: list[Callable[[], object]]) -> list[Exception]:
    """Run every step and return the errors of those that failed."""
    failed = []
    for step in steps:
        try:
            step()
        except Exception as error:
            failed.append(error)
    return failed


@contextmanager
def enough_samples(advice: str) -> Iterator[None]:
    """Turn torch's error about a batch too small for batch statistics into an ``InputError`` with ``advice``.

    Other errors propagate.
    """
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise InputError(f"{advice} ({error})") from error
