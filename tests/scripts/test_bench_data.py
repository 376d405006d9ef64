"""The bench of batches: its arithmetic by hand, and a whole run on tiny sizes."""

import json
import statistics
import sys

import pytest
import torch

from scripts import bench_data as script
from transfer import data
from transfer.data.image_io import decode
from transfer.data.sources import voc_sample


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    """A sample of 5 images, one worker, and the number of threads as it was."""
    monkeypatch.setenv("TRANSFER_HOME", str(tmp_path))
    monkeypatch.setattr(voc_sample, "COUNTS", {"train": 5, "val": 1})
    monkeypatch.setattr(script, "WORKERS", 1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_whole_run_prints_what_it_says(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_data.py", "--images", "9", "--turns", "3"])
    rates = {"dataloader": [40.0, 90.0, 50.0], "batches": [500.0, 400.0, 600.0], "batches-1-thread": [100.0] * 3}
    rates |= {"segmentation-torchvision": [20.0] * 3, "segmentation": [25.0, 1.0, 90.0]}
    seen: dict[str, int] = {}

    def measure(compared, turns):
        assert turns == 3
        seen.update({name: sum(len(inputs) for inputs, _ in walk) for name, (_, walk) in compared.items()})
        return {name: rates[name] for name in compared}

    monkeypatch.setattr(script, "measure", measure)
    script.main()
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert seen == {name: 5 if "segmentation" in name else 9 for name in rates}
    assert {name: row["settings"]["images"] for name, row in rows.items()} == seen
    assert {name: (row["images_per_s"], row["ratio"]) for name, row in rows.items()} == {
        "dataloader": (50, 1), "batches": (500, 10), "batches-1-thread": (100, 2),
        "segmentation-torchvision": (20, 1), "segmentation": (25, 1.25),
    }  # fmt: skip
    assert (rows["segmentation"]["lowest"], rows["segmentation"]["highest"]) == (1, 90)


def test_scales_are_of_the_samples_own_mean_shorter_side(monkeypatch):
    split = data.load("voc-sample").train
    base = statistics.mean(min(decode(path, path).size) for path in split.images)
    assert script.mean_shorter_side(split) == base
    resize = script.PilMaps(split).transform.transforms[0]
    assert resize.min_size == pytest.approx(base / 2, abs=0.5)
    assert resize.max_size - 1 == pytest.approx(base * 2, abs=0.5)


def test_both_ways_give_normalised_maps_of_one_size():
    split = data.load("voc-sample").train
    for _, walk in script.map_walks(split).values():
        for inputs, targets in walk:
            assert tuple(inputs.shape[1:]) == (3, 96, 96)
            assert tuple(targets.shape[1:]) == (96, 96)
            assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)
            assert set(targets.unique().tolist()) <= {*range(11), 255}
            assert float(inputs.abs().max()) < 3
