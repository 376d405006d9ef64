"""Looking at a model leaves it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from transfer.precision import full_float32


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode for a while; afterwards modes, buffers and the global random state are as before.

    Float32 is float32 meanwhile, on GPUs too.

    Buffers too, since a forward in eval mode may still move them: a counter, or statistics that are always on.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, key, buffer, buffer.clone())
        for module in model.modules()
        for key, buffer in module._buffers.items()
        if buffer is not None
    ]
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=cuda), full_float32():
        try:
            model.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for module, key, buffer, before in buffers:
                    module._buffers[key] = buffer
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)
