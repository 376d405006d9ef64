"""A sweep of 12 cells on two workers: a worker killed, then the sweep itself; the command again gives equal bytes."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests import processes
from transfer import cli

WORDS = (
    "sweep", "digits", "--backbone", "random:resnet20", "--data.size", "8", "--data.workers", "0", "--methods",
    "magnitude", "random", "--sparsities", "0.5", "--seeds", "0", "1", "2", "3", "--prune.per-class", "1",
    "--train.epochs", "1", "--train.batch", "4", "--train.warmup", "0", "--train.precision", "no",
    "--train.save-minutes", "0", "--label", "killed",
)  # fmt: skip
OWN = {"timing.json", "environment.json", "log.txt", ".lock"}  # times, and what each start said


def few(folder: Path) -> Path:
    """Make a data set of two classes with four training and two test images each."""
    for number, name in enumerate(("a", "b")):
        for part, count in (("train", 4), ("val", 2)):
            (folder / part / name).mkdir(parents=True)
            for image in range(count):
                color = (200 * number, 10 * image, 100)
                Image.new("RGB", (8, 8), color).save(folder / part / name / f"{image}.png")
    return folder


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def workers_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words, command = stat.read_text().rpartition(")")[2].split(), stat.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(words[1]) == parent and words[0] != "Z" and b"spawn_main" in command:
            found.append(int(stat.parent.name))
    return found


def contents(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and path.name not in OWN]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_kills_of_a_worker_and_of_the_sweep_change_no_byte(tmp_path: Path, ended: Callable[..., object]) -> None:
    out, words = tmp_path / "out", (*WORDS, "--data.name", f"imagefolder:{few(tmp_path / 'images')}")
    begun = (*words, "--out", str(out))
    first = processes.start(
        processes.module, "transfer", *begun, "--workers", "2", folder=tmp_path / "first", group=True
    )
    (process,) = first.processes
    assert process.pid is not None
    until(lambda: len(list(out.glob("*/result.json"))) >= 2 or process.exitcode is not None)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    done = len(list(out.glob("*/result.json")))
    until(lambda: len(list(out.glob("*/result.json"))) >= done + 2 or process.exitcode is not None)
    assert process.exitcode is None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert "its worker process died (exit code -9); a fresh one goes on from what was saved" in first.err
    assert len(list(out.glob("*/result.json"))) < 12
    processes.run(processes.module, "transfer", *begun, "--workers", "1", folder=tmp_path / "second")

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ended(lambda: cli.main([*words, "--out", str(tmp_path / "whole"), "--workers", "1", "--verbosity", "quiet"]))
    finally:
        torch.set_num_threads(threads)
    found, whole = contents(out), contents(tmp_path / "whole")
    assert sorted(found) == sorted(whole)
    assert [name for name in whole if found[name] != whole[name]] == []
    assert len([name for name in whole if name.endswith("result.json")]) == 12
