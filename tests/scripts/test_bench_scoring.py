"""The bench's own arithmetic: turns, medians, relative changes, and a row of every method on a tiny model."""

import json
import time

import pytest
import torch

from scripts import bench_scoring as script
from tests import processes
from transfer.pruning import methods


def test_the_cost_of_a_further_batch_and_what_is_fixed(monkeypatch, capsys):
    monkeypatch.setattr(script, "build", lambda *_: (None, []))
    monkeypatch.setattr(script, "take_turns", lambda *_: {"forward": 2.0, "one": 7.0, "three": 17.0})
    script.round_cost("px", "resnet20", 32, 128, 1, "cpu")
    found = json.loads(capsys.readouterr().out)
    assert found["measurement"] == "px round"
    assert (found["further_batch"], found["fixed_s"], found["goal"]) == (2.5, 2.0, 2.2)
    script.round_cost("grasp", "resnet20", 32, 128, 1, "cpu")
    found = json.loads(capsys.readouterr().out)
    assert found["floor"] == 9
    assert "goal" not in found


def test_the_cost_of_a_further_round_of_prune(monkeypatch, capsys):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    monkeypatch.setattr(script, "build", lambda *_: (model, [(torch.ones(1, 3, 2, 2), torch.zeros(1).long())] * 3))
    monkeypatch.setattr(script, "take_turns", lambda *_: {"forwards": 2.0, "one": 5.0, "two": 9.0})
    script.rounds_cost("resnet50", 224, 50, 1, "cpu")
    found = json.loads(capsys.readouterr().out)
    assert (found["round_forwards"], found["hundred_rounds"], found["images"]) == (2.0, 200.0, 100)


def test_goals_and_floors_are_of_methods():
    assert set(script.GOALS) | set(script.FLOORS) <= set(methods())


def test_the_largest_change_by_hand():
    exact = {"x": torch.tensor([1.0, 0.0]), "y": torch.tensor([[3.0]])}
    rough = {"x": torch.tensor([4.0, 0.0]), "y": torch.tensor([[4.0]])}
    assert script.largest_change(exact, rough) == pytest.approx(1.0)  # 1/4 → 1/2; 3/4 → 1/2 is a third
    assert script.largest_change(exact, {name: 8 * s for name, s in exact.items()}) == 0


def hold():
    held = torch.ones(2**24)
    time.sleep(0.3)
    held.sum()


def tell_peak():
    print(script.peak_of(hold, "cpu"))


def test_peak_memory_sees_what_a_call_holds(tmp_path):
    done = processes.run(tell_peak, folder=tmp_path)
    size = 4 * 2**24
    assert 0.5 * size < int(done.out) < 4 * size


def test_both_layouts_are_measured_side_by_side(monkeypatch, capsys):
    seen = []

    def turns(calls, repeats, device):
        for call in calls.values():
            call()
        return {"forward": 2.0, "forward_last": 1.0, "round": 5.0, "round_as_given": 4.0}

    class Sees(torch.nn.Conv2d):
        def forward(self, x):
            seen.append(x.is_contiguous(memory_format=torch.channels_last))
            return super().forward(x)

    model = torch.nn.Sequential(Sees(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    monkeypatch.setattr(script, "build", lambda *_: (model, [(torch.randn(2, 3, 6, 6), torch.zeros(2).long())]))
    monkeypatch.setattr(script, "take_turns", turns)
    script.layouts("tiny", 6, 2, 1, "cpu")
    found = json.loads(capsys.readouterr().out)
    assert (found["measurement"], found["forward_ratio"], found["round_ratio"]) == ("px layout", 0.5, 1.25)
    assert seen == [False, True, True, False, False, False], "two forwards, then gates and open network of two rounds"


def test_memory_is_measured_on_both_networks_in_processes_of_their_own(monkeypatch):
    ran = []
    monkeypatch.setattr(script.subprocess, "run", lambda command, check: ran.append(command[2:5]))
    monkeypatch.setattr(script.sys, "argv", ["bench", "--only", "memory", "--methods", "px", "snip"])
    script.main()
    assert ran == [["--peak", method, arch] for arch in ("resnet20", "resnet50") for method in ("px", "snip")]
