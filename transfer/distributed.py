"""The processes of a run: their accelerator, broadcasts from the main one, and shutdown."""

import atexit
import gc
import os
import sys
from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, broadcast_object_list
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from checkpoints.errors import InputError
from transfer.compiled import check_compiler
from transfer.recipe import Train

SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "accelerate's parallelism_config",
}
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
T = TypeVar("T")


def accelerator_for(train: Train) -> Accelerator:
    """Return an accelerator with the recipe's precision.

    Raises:
        InputError: the device does not support the recipe; or the launcher asked for a sharded model, for gradient
            accumulation, for more processes than GPUs, or for several processes of which only one was started.
    """
    cuda = torch.cuda.is_available()
    precision = train.precision
    if precision == "auto":
        precision = "bf16" if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if precision == "fp16" and not cuda:
        raise InputError("train.precision is fp16, which needs a GPU; use no or bf16")
    if train.sync_norm and not cuda:
        raise InputError("train.sync_norm needs CUDA GPUs; leave it out, or set train.freeze_norm")
    if train.compile:
        check_compiler("cuda" if cuda else "cpu")
    _refuse_sharding()
    _refuse_shared_gpus()
    state = AcceleratorState._shared_state
    if state and state.get("_mixed_precision") != precision:  # accelerate allows one precision per process unless reset
        AcceleratorState._reset_state()
    # without cpu=True, accelerate sees one process under torchrun on a machine without an accelerator
    accelerator = Accelerator(mixed_precision=precision, cpu=not torch.accelerator.is_available())
    _refuse_missing_processes(accelerator)
    check(accelerator)
    atexit.register(close_processes)
    return accelerator


def check(accelerator: Accelerator) -> None:
    """Reject what the training loop does not support.

    Raises:
        InputError: the model would be sharded, or gradients accumulated.
    """
    if accelerator.distributed_type in SHARDED:
        raise InputError(_whole(str(accelerator.distributed_type.value)))
    steps = accelerator.gradient_accumulation_steps
    if steps != 1:
        raise InputError(
            f"accelerate is set to accumulate gradients over {steps} steps, which is not supported; "
            "set gradient_accumulation_steps to 1 and a larger train.batch"
        )


def _refuse_sharding() -> None:
    for variable, name in SHARDING.items():
        if os.environ.get(variable, "").lower() in {"1", "true", "yes"}:
            raise InputError(f"{_whole(name)} (it is chosen by {variable})")


def _refuse_shared_gpus() -> None:
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if processes > gpus > 0:
        raise InputError(
            f"{processes} processes were started on a machine with {gpus} GPU{'s' * (gpus > 1)}; start one per GPU "
            f"(--nproc-per-node {gpus}), or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on the CPU"
        )


def _whole(name: str) -> str:
    return f"{name} is not supported: every process holds the whole model; start with {_torchrun()}"


def _refuse_missing_processes(accelerator: Accelerator) -> None:
    """Reject a run of one process where several were requested.

    Without GPUs, ``accelerate launch`` sets a rendezvous address for N processes, then starts one.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and {"MASTER_ADDR", "MASTER_PORT"} <= set(os.environ)
    if launched and "WORLD_SIZE" not in os.environ and accelerator.num_processes == 1:
        raise InputError(
            "accelerate launch was asked for several processes but started one, as it does without GPUs; "
            f"start with {_torchrun()} (for one process unset MASTER_ADDR and MASTER_PORT)"
        )


def _torchrun() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = spec.name if spec is not None and spec.name.startswith("recipes.") else "recipes.NAME"
    return f"torchrun --nproc-per-node N -m {name} …"


def from_main(look: Callable[[], T], accelerator: Accelerator) -> T:
    """Run ``look`` on rank 0 and broadcast its result or exception.

    All processes wait for it. The exception is raised on all, so that none waits for a process that has left.
    """
    if accelerator.num_processes == 1:
        return look()
    told: tuple[T | None, Exception | None] = (None, None)
    if accelerator.is_main_process:
        try:
            told = (look(), None)
        except Exception as error:
            told = (None, error)
    answer, failure = broadcast_object_list([told])[0]
    if failure is not None:
        raise failure
    return answer


def settle(model: nn.Module, inputs: Tensor) -> None:
    """Run one forward and backward pass, and undo its effects on gradients and buffers.

    After its first backward pass DistributedDataParallel rebuilds its buckets in the order in which gradients arrived.
    A gradient's position in them determines the order of summation over three or more processes, so without this the
    first step after each start would differ in its last bits from the same step of an uninterrupted training. No-op for
    one process.
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


def close_processes() -> None:
    """Destroy the process group; for ``atexit``. No-op for one process, for NCCL, and when called again.

    A thread of gloo may still hold the tensors of the last exchange. If it frees them during interpreter shutdown, the
    process aborts ("terminate called without an active exception") and a launcher reports the finished run as failed.
    So the group is destroyed while the interpreter is intact.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        gc.collect()
        torch.distributed.destroy_process_group()
        gc.collect()  # remaining references to the group, whose release ends its threads
