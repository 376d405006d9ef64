"""Scores have the same bits for one process, two and three, for every method; they really are as many."""

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
from transfer.distributed import accelerator_for
import warnings
warnings.simplefilter("ignore")
torch.set_num_threads(1)
accelerator = accelerator_for(Train(precision="no"))
model = randomised(TinyVgg())
batches = [images((3, 8, 8), n, seed=n) for n in (5, 3, 6, 4)]  # the third of three processes has one
found = {"processes": accelerator.num_processes}
for method in methods():
    few = {"draws": 2} if method in ("hutchinson", "hts") else {}
    for statistics in ("batch", "warmup"):
        options = {"accelerator": accelerator, "statistics": statistics, **few}
        sha = hashlib.sha256()
        for name, values in score(method, model, batches, **options).items():
            sha.update(name.encode() + values.numpy().tobytes())
        for count in (1, 2):  # one batch: the second process has none
            masks = prune(randomised(TinyVgg()), batches[:count], method=method, sparsity=0.9, rounds=2, **options)
            sha.update(masks.digest().encode())
        found[f"{method} {statistics}"] = sha.hexdigest()
from transfer.errors import RunError
from transfer.pruning import rounds as loop
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


RANKS = {"one-0": 1, "two-0": 2, "two-1": 2, "three-0": 3, "three-1": 3, "three-2": 3}


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "scores.py"
    script.write_text(SCRIPT)
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    for launcher, out in (([], "one"), ([*several, "2"], "two"), ([*several, "3"], "three")):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
        done = subprocess.run(
            [sys.executable, *launcher, str(script), str(folder / out)],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in RANKS}


def test_as_many_processes_ran(digests):
    assert [found["processes"] for found in digests.values()] == list(RANKS.values())


def test_processes_with_different_weights_are_told(digests):
    assert digests["one-0"]["weights"] == "no error"
    for name in list(RANKS)[1:]:
        assert "the processes have models with different weights" in digests[name]["weights"]


def test_processes_that_round_differently_get_the_masks_of_the_first(digests):
    assert len({found["noisy"] for found in digests.values()}) == 1


@pytest.mark.parametrize("statistics", ["batch", "warmup"])
@pytest.mark.parametrize("method", methods())
def test_the_same_bits_from_any_number_of_processes(method, statistics, digests):
    assert len({found[f"{method} {statistics}"] for found in digests.values()}) == 1
