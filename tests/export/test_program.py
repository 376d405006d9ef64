import json
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import checkpoints
from checkpoints.errors import InputError
from tests.export.networks import NETWORKS, gap, prune
from transfer.export.program import ABOUT, program, save
from transfer.export.trace import exported_program
from transfer.models import segmenter


def test_the_facts_lie_inside_the_file(tmp_path: Path) -> None:
    model = prune(NETWORKS["chain"](), 0.8, 0).float()
    made = program(model, torch.zeros(2, 3, 16, 16))
    save(made.exported, tmp_path / "model.pt2", {"mean": [0.5, 0.4, 0.3]})
    inside = {ABOUT: ""}
    read = torch.export.load(tmp_path / "model.pt2", extra_files=inside).module()
    assert json.loads(inside[ABOUT]) == {"mean": [0.5, 0.4, 0.3]}
    assert gap(model, read, (1, 3, 16, 16), (3, 3, 21, 18)) < 1e-6
    assert made.sizes is not None
    assert made.sizes.words().endswith("or more px")


def test_one_size_where_no_more_is_possible_or_wanted() -> None:
    example = torch.zeros(2, 3, 9, 9)
    for model, fixed in ((timm.layers.Conv2dSame(3, 4, 3, 2), False), (nn.Conv2d(3, 4, 3), True)):
        made = program(model.eval(), example, fixed=fixed)
        assert made.sizes is not None
        assert made.sizes.words() == "sides of 9 px"
        assert gap(model, made.exported.module(), (5, 3, 9, 9)) < 1e-6


def test_a_network_that_torch_cannot_follow_for_other_sides_is_followed_for_one() -> None:
    class Measured(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            if not isinstance(x.shape[2], int):
                raise NotImplementedError("an inequality that cannot be solved")
            return super().forward(x)

    made = program(Measured(3, 4, 3).eval(), torch.zeros(2, 3, 9, 9))
    assert made.sizes is not None
    assert made.sizes.words() == "sides of 9 px"


def test_a_network_that_branches_on_values_is_refused_with_the_module() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    model, example = nn.Sequential(nn.Conv2d(3, 4, 1), Branching()), torch.zeros(2, 3, 8, 8)
    with pytest.raises(InputError, match=r"^torch.export cannot follow 1 \(.*\); give a network that does not branch"):
        program(model, example)
    with pytest.raises(InputError, match=r"\); allow one image size only, or give a network that does not branch"):
        exported_program(model, example)


@pytest.mark.large
@pytest.mark.slow
def test_deeplab_on_clip_is_followed_for_one_size() -> None:
    model = segmenter(checkpoints.load("random:resnet50_clip_gap"), 5).eval()
    made = program(model, torch.zeros(2, 3, 64, 64), smaller=True)
    assert made.sizes is not None
    assert made.sizes.words() == "sides of 64 px"
    with pytest.raises(InputError, match=r"^an image is 80×64 px, but the network takes sides of 64 px"):
        made.network(torch.zeros(2, 3, 80, 64))


@pytest.mark.large
@pytest.mark.slow
def test_deeplab_takes_multiples_of_its_stride() -> None:
    model = segmenter(checkpoints.load("random:resnet18"), 5).eval()
    made = program(model, torch.zeros(2, 3, 64, 64))
    assert made.sizes is not None
    assert made.sizes.words() == "sides of 32, 48, 64, … px"
    assert gap(model, made.exported.module(), (1, 3, 48, 96), (3, 3, 128, 64)) < 1e-5
