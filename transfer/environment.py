"""The environment of a run: versions and devices."""

import os
import platform
from importlib.metadata import version
from typing import Any

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "segmentation-models-pytorch",
    "accelerate",
    "numpy",
)


def main_process() -> bool:
    """Return whether this process may print: the only one, or rank 0 of torchrun or accelerate."""
    return os.environ.get("RANK", "0") == "0"


def versions() -> dict[str, str]:
    """Return the versions of this project and of the packages that affect its results."""
    import transfer

    return {"px-transfer": transfer.__version__, **{name: version(name) for name in _PACKAGES}}


def environment(accelerator: Any) -> dict[str, Any]:
    """Return versions, device, processes and precision, as JSON types."""
    import torch

    device = accelerator.device
    return {
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
        "precision": str(accelerator.mixed_precision),
    }
