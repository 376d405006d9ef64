"""What a launcher asked for and cannot have is one line: sharding, accumulation, processes that were not started."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType

from checkpoints import InputError
from transfer.distributed import SHARDING, check
from transfer.recipe import Train
from transfer.training import accelerator_for

PRINT = """
import sys
from checkpoints import InputError
from transfer.recipe import Train
from transfer.training import accelerator_for
try:
    print("processes", accelerator_for(Train()).num_processes)
except InputError as error:
    print("refused:", error)
"""


def refused() -> str:
    with pytest.raises(InputError) as caught:
        accelerator_for(Train())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_half_precision_wants_a_gpu() -> None:
    with pytest.raises(InputError, match=r"train\.precision is fp16, which needs a GPU"):
        accelerator_for(Train(precision="fp16"))


@pytest.mark.parametrize("variable", SHARDING)
def test_a_sharded_model_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "true")
    words = refused()
    assert SHARDING[variable] in words
    assert "start with torchrun --nproc-per-node N -m recipes.NAME" in words
    monkeypatch.setenv(variable, "false")
    assert accelerator_for(Train()).num_processes == 1


def test_an_accelerator_that_shards_is_refused() -> None:
    sharding = SimpleNamespace(distributed_type=DistributedType.FSDP, gradient_accumulation_steps=1)
    with pytest.raises(InputError, match="FSDP is not supported"):
        check(sharding)  # type: ignore[arg-type]


def test_accumulation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate would divide every loss by the number of steps."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    try:
        assert "gradients over 4 steps" in refused()
    finally:
        monkeypatch.undo()
        accelerator_for(Train())


@pytest.mark.parametrize(("processes", "gpus"), [(2, 1), (8, 4)])
def test_more_processes_than_gpus_are_refused(processes: int, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    words = refused()
    assert f"{processes} processes were started on a machine with {gpus} GPU" in words
    assert f"--nproc-per-node {gpus})" in words


@pytest.mark.parametrize("gpus", [0, 2])
def test_a_gpu_a_process_or_none_at_all_is_no_complaint(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert accelerator_for(Train()).num_processes == 1


def test_an_address_alone_is_no_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert accelerator_for(Train()).num_processes == 1


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "answer"), [("1", "processes 1"), ("2", "refused: accelerate launch was asked")])
def test_accelerate_launch_on_cpu(processes: str, answer: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PRINT)
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", processes, str(script)],
        env={**os.environ, "PYTHONPATH": os.getcwd(), "HF_HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith(answer), done.stdout + done.stderr
