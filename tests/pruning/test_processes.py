"""Scores have the same bits for one process and for two, for every method; they really are two."""

import json
import os
import subprocess
import sys

import pytest

from transfer.pruning import methods

SCRIPT = """
import hashlib, json, sys, torch
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import methods, prune, score
from transfer.recipe import Train
from transfer.training.accelerators import accelerator_for
import warnings
warnings.simplefilter("ignore")
torch.set_num_threads(1)
accelerator = accelerator_for(Train(precision="no"))
model = randomised(TinyVgg())
batches = [images((3, 8, 8), n, seed=n) for n in (5, 3, 6)]  # three batches: the second process has one
found = {"processes": accelerator.num_processes}
for method in methods():
    sha = hashlib.sha256()
    for name, values in score(method, model, batches, accelerator=accelerator).items():
        sha.update(name.encode() + values.numpy().tobytes())
    for count in (1, 2):  # one batch: the second process has none
        masks = prune(randomised(TinyVgg()), batches[:count], method=method, sparsity=0.9, rounds=3,
                      accelerator=accelerator)
        sha.update(masks.digest().encode())
    found[method] = sha.hexdigest()
from transfer.errors import RunError
from transfer.pruning import loop
exact = loop.score
def noisy(*given, **named):
    noise = torch.Generator().manual_seed(accelerator.process_index)
    return {name: v * (1 + torch.rand(v.shape, generator=noise)) for name, v in exact(*given, **named).items()}
loop.score = noisy
found["noisy"] = prune(randomised(TinyVgg()), batches, method="px", sparsity=0.5, rounds=2,
                       accelerator=accelerator).digest()
loop.score = exact
other = randomised(TinyVgg())
other.state_dict()[next(iter(other.state_dict()))].add_(accelerator.process_index)
try:
    prune(other, batches, method="magnitude", sparsity=0.5, accelerator=accelerator)
    found["weights"] = "no error"
except RunError as error:
    found["weights"] = str(error)
with open(f"{sys.argv[1]}-{accelerator.process_index}.json", "w") as file:
    json.dump(found, file)
"""


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "scores.py"
    script.write_text(SCRIPT)
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for launcher, out in (([], "one"), (two, "two")):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
        done = subprocess.run(
            [sys.executable, *launcher, str(script), str(folder / out)],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("one-0", "two-0", "two-1")}


def test_two_processes_ran(digests):
    assert [digests[name]["processes"] for name in ("one-0", "two-0", "two-1")] == [1, 2, 2]


def test_processes_with_different_weights_are_told(digests):
    assert digests["one-0"]["weights"] == "no error"
    for name in ("two-0", "two-1"):
        assert "the processes have models with different weights" in digests[name]["weights"]


def test_processes_that_round_differently_get_the_masks_of_the_first(digests):
    assert len({digests[name]["noisy"] for name in ("one-0", "two-0", "two-1")}) == 1


@pytest.mark.parametrize("method", methods())
def test_the_same_bits_from_one_process_and_from_two(method, digests):
    assert digests["two-0"][method] == digests["one-0"][method]
    assert digests["two-1"][method] == digests["one-0"][method]
