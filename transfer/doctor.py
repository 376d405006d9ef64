"""Show the environment of a run on this machine, and check in a few seconds that it works."""

import os
import platform
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoints.errors import InputError, one_line, reason
from transfer.environment import main_process

if TYPE_CHECKING:
    from transfer.self_check import Outcome

PACKAGES = {  # names to install and to import
    "torch": "torch", "torchvision": "torchvision", "timm": "timm", "open_clip_torch": "open_clip",
    "segmentation-models-pytorch": "segmentation_models_pytorch", "accelerate": "accelerate",
}  # fmt: skip
PATIENCE = 120.0  # seconds; a check that waits longer for another process would wait forever
GIB = 1 << 30


def doctor() -> bool:
    """Print versions, devices, processes, precision, folders and the checks; return whether all is well.

    Under torchrun every process calls it and takes part; only the main process prints. A failed check prints one line
    that begins with FAILED and says what to do. If another process does not answer for two minutes, the program exits
    with code 1.
    """
    import transfer

    _say("px-transfer", transfer.__version__)
    _say("python", f"{platform.python_version()} on {platform.platform()}")
    well = [_package(name, module) for name, module in PACKAGES.items()]
    if not all(well):
        return False
    with _patience():
        _devices()
        accelerator = _processes()
        return all([accelerator is not None, _folders(), _checks(accelerator)])


def _say(label: str, text: str) -> None:
    if main_process():
        print(f"{label:<28}{text}", flush=True)


def _failed(label: str, text: str) -> bool:
    _say("FAILED", f"{label}: {one_line(text)}")
    return False


def _package(name: str, module: str) -> bool:
    try:
        installed = version(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(module)
    except PackageNotFoundError:
        return _failed(name, f"not installed; pip install {name}")
    except Exception as error:  # a broken installation may raise any type
        remedy = f"pip install --force-reinstall torch torchvision {name}"
        return _failed(name, f"installed, but cannot be imported ({reason(error)}); {remedy}")
    _say(name, installed)
    return True


def _devices() -> None:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    _say("cpu", f"{cores} cores, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = torch.cuda.is_available()
    if not found:
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        _say("gpu", f"none ({'; '.join([built, *(one_line(str(warning.message)) for warning in caught)])})")
    for index in range(torch.cuda.device_count() if found else 0):
        try:
            about = torch.cuda.get_device_properties(index)
            free, total = (size / GIB for size in torch.cuda.mem_get_info(index))
            bf16 = "bf16" if about.major >= 8 or torch.version.hip else "bf16 in software only: slow"
            _say(f"cuda:{index}", f"{about.name}, {total:.1f} GiB, {free:.1f} free, {bf16}")
        except RuntimeError as error:  # its check reports the failure
            _failed(f"cuda:{index}", f"{one_line(str(error))}; see nvidia-smi, or hide it with CUDA_VISIBLE_DEVICES")


def _processes() -> Any:
    """Print the number of processes and the meaning of precision "auto"; return the accelerator, None on failure."""
    import torch

    from transfer.recipe import Train
    from transfer.training import accelerator_for

    try:
        accelerator = accelerator_for(Train())
    except Exception as error:  # torch and accelerate raise many types for a failed rendezvous
        remedy = "" if isinstance(error, InputError) else "; see RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT"
        _failed("processes", one_line(str(error)) + remedy)
        return None
    how = f"one; more with torchrun --nproc-per-node {max(torch.cuda.device_count(), 2)} -m recipes.NAME"
    if accelerator.num_processes > 1:
        local, backend = os.environ.get("LOCAL_WORLD_SIZE", "?"), torch.distributed.get_backend()
        how = f"{accelerator.num_processes}, by {backend}, {local} of them on this machine"
    _say("processes", how)
    _say("device", _device(accelerator))
    _say("precision", f"auto means {accelerator.mixed_precision}")
    return accelerator


def _device(accelerator: Any) -> str:
    device = accelerator.device
    return str(device) if device.type == "cuda" else device.type


def _folders() -> bool:
    import checkpoints
    from checkpoints.fetch import home

    _say("weights", _folder(home(), "TRANSFER_HOME"))
    _say("data", _folder(Path(os.environ.get("TRANSFER_DATA") or "data").expanduser(), "TRANSFER_DATA"))
    here, damaged = [], []
    for name in checkpoints.names():
        try:
            checkpoints.verify(name)
            here.append(name)
        except checkpoints.NotReady:
            pass
        except InputError as error:
            damaged.append(f"{name}: {error}")
    _say("backbones here", ", ".join(here) or "none")
    for words in damaged:
        _failed("backbone", words)
    return not damaged


def _folder(path: Path, variable: str) -> str:
    """Describe whether a folder, or its nearest existing parent, is writable, and how much space is free."""
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not place.is_dir():
        return f"{path} is no folder; set {variable} to one"
    free = f"{shutil.disk_usage(place).free / GIB:.1f} GiB free"
    state = "" if path.exists() else "not there yet, "
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{path}: {state}cannot be written, so nothing can be downloaded to it; {variable} sets another; {free}"
    return f"{path}: {state}can be written, {free}"


def _checks(accelerator: Any) -> bool:
    """Check each device alone, then, if that succeeds in all processes, all processes together."""
    import torch

    from transfer.self_check import check_device, check_together

    several = accelerator is not None and accelerator.num_processes > 1
    every = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    devices = [torch.device(name) for name in ([_device(accelerator)] if several else every)]
    with tempfile.TemporaryDirectory(prefix="transfer-doctor-") as made:
        folder = Path(made)
        well = _reported((check for device in devices for check in check_device(device, folder)), accelerator)
        if not well or accelerator is None:
            return False
        return _reported([check_together(accelerator, folder)], accelerator)


def _reported(outcomes: Iterable["Outcome"], accelerator: Any) -> bool:
    """Print this process's outcomes as they come, then the failures of other processes; return whether all is well."""
    failures = []
    for outcome in outcomes:
        label = f"{outcome.name} on {outcome.where}"
        if outcome.wrong is None:
            _say("ok", f"{label}: {outcome.seen} ({outcome.seconds:.1f} s)")
        else:
            failures.append((label, outcome.wrong))
            _failed(label, outcome.wrong)
    if accelerator is None or accelerator.num_processes == 1:
        return not failures
    from accelerate.utils import gather_object

    every = gather_object([(accelerator.process_index, *failure) for failure in failures])
    for process, label, words in every:
        if process != accelerator.process_index:
            _failed(f"process {process}, {label}", words)
    return not every


@contextmanager
def _patience() -> Iterator[None]:
    """Exit the program with one line if the body takes longer than PATIENCE seconds."""

    def give_up() -> None:
        remedy = "see whether they reach each other (MASTER_ADDR, firewall)"
        _failed("processes", f"no answer for {PATIENCE:.0f} s; {remedy}")
        os._exit(1)

    timer = threading.Timer(PATIENCE, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
