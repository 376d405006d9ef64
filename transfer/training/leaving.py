"""The end of a process among several: gloo's threads end before Python does."""

import gc

import torch


def close_processes() -> None:
    """Leave the group of processes; for ``atexit``. Does nothing for one process, for NCCL, and a second time.

    A thread of gloo may still hold the tensors of the last exchange. Should it free them while Python ends, the process
    aborts ("terminate called without an active exception") and a launcher calls the finished run a failure. So the
    group goes while Python is whole.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        gc.collect()
        torch.distributed.destroy_process_group()
        gc.collect()  # what still held the group: its threads end when it goes
