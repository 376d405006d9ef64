"""Scores have the same bits for one process, two and three, for every method; they really are as many."""

import hashlib
import json
import warnings
from pathlib import Path

import pytest
import torch

from tests import processes
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.distributed import accelerator_for
from transfer.errors import RunError
from transfer.pruning import methods, prune, score
from transfer.pruning import rounds as loop
from transfer.recipe import Train

SEEN = {1: ("batch", "warmup"), 2: ("warmup",), 3: ("batch",)}  # statistics by the number of processes
RANKS = {"one-0": 1, "two-0": 2, "two-1": 2, "three-0": 3, "three-1": 3, "three-2": 3}


def written(out: str) -> None:
    """Write down what this process finds: digests of the scores and masks of every method, and errors."""
    warnings.simplefilter("ignore")
    accelerator = accelerator_for(Train(precision="no"))
    model = randomised(TinyVgg())
    batches = [images((3, 8, 8), n, seed=n) for n in (5, 3, 6, 4)]  # the third of three processes has one
    found = {"processes": accelerator.num_processes}
    for method in methods():
        few = {"draws": 2} if method in ("hutchinson", "hts") else {}
        for statistics in SEEN[accelerator.num_processes]:
            options = {"accelerator": accelerator, "statistics": statistics, **few}
            sha = hashlib.sha256()
            for name, values in score(method, model, batches, **options).items():
                sha.update(name.encode() + values.numpy().tobytes())
            one = batches[:1]  # the second process has none
            masks = prune(randomised(TinyVgg()), one, method=method, sparsity=0.9, rounds=2, **options)
            sha.update(masks.digest().encode())
            found[f"{method} {statistics}"] = sha.hexdigest()
    exact = loop.score

    def noisy(*given, **named):
        noise = torch.Generator().manual_seed(accelerator.process_index)
        return {name: v * (1 + torch.rand(v.shape, generator=noise)) for name, v in exact(*given, **named).items()}

    loop.score = noisy
    masks = prune(randomised(TinyVgg()), batches, method="px", sparsity=0.5, rounds=2, accelerator=accelerator)
    found["noisy"] = masks.digest()
    loop.score = exact
    other = randomised(TinyVgg())
    other.state_dict()[next(iter(other.state_dict()))].add_(accelerator.process_index)
    try:
        prune(other, batches, method="magnitude", sparsity=0.5, accelerator=accelerator)
        found["weights"] = "no error"
    except RunError as error:
        found["weights"] = str(error)
    Path(f"{out}-{accelerator.process_index}.json").write_text(json.dumps(found))


def every_number(folder: Path) -> None:
    for world, out in enumerate(("one", "two", "three"), 1):
        processes.run(written, str(folder / out), world=world, folder=folder / f"{out}-said")


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    folder = processes.once(tmp_path_factory, "reduction", every_number)
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
    """Of three for the statistics of the batches, of two for those of a warm-up."""
    found = [own[f"{method} {statistics}"] for own in digests.values() if statistics in SEEN[own["processes"]]]
    assert len(found) == {"batch": 4, "warmup": 3}[statistics]
    assert len(set(found)) == 1
