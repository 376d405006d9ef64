"""How many workers decode: never more than the cores that this process may use."""

import os

import pytest
import torch

from transfer.data import workers
from transfer.data.image_batches import Batches


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The numbers of workers of the loaders that are made."""
    found: list[int] = []

    class Loader(workers.DataLoader):
        def __init__(self, *args, num_workers: int, **options) -> None:
            found.append(num_workers)
            super().__init__(*args, num_workers=num_workers, **options)

    monkeypatch.setattr(workers, "DataLoader", Loader)
    return found


def walked(files, workers: int) -> list[torch.Tensor]:
    walk = Batches(files(), size=8, batch=2, mean=(0, 0, 0), std=(1, 1, 1), workers=workers)
    return [inputs for inputs, _ in walk]


def test_more_workers_than_cores_are_as_many_as_cores_and_torch_warns_of_none(files, asked):
    plain, many = walked(files, 0), walked(files, 10_000)
    assert asked == [0, workers.cores()]
    assert 1 <= workers.cores() <= (os.cpu_count() or 1)
    assert all(torch.equal(a, b) for a, b in zip(plain, many, strict=True))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="a system that grants a process all cores")
def test_a_process_that_may_use_one_core_gets_one_worker(files, asked, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {5})
    walked(files, 2)
    walked(files, 1)
    assert asked == [1, 1]
