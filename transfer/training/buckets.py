"""DistributedDataParallel's buffers of gradients, brought into their last form before the first step."""

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def settle(model: nn.Module, inputs: Tensor) -> None:
    """Run one forward and backward pass, and take back what it did to gradients and buffers.

    After its first backward pass DistributedDataParallel lays its buffers out anew, in the order in which the gradients
    came. Where a gradient lies decides in which order three or more processes' parts are added, so without this the
    first step of each start would differ in its last bits from the same step of a training that was not stopped. Does
    nothing for one process.
    """
    if not isinstance(model, DistributedDataParallel):
        return
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model(inputs).float().sum().backward()
    for parameter in model.parameters():
        parameter.grad = None
    with torch.no_grad():
        for buffer, value in before:
            buffer.copy_(value)
