"""New running statistics by hand; nothing else of the model changes."""

import pytest
import torch
from torch import Tensor, nn

from checkpoints import InputError
from tests.training.small import Small, small_loaders
from transfer.pruning.calibration import recalibrate


def column(*values: float) -> tuple[Tensor, Tensor]:
    return torch.tensor(values, dtype=torch.float32)[:, None], torch.zeros(len(values), dtype=torch.int64)


def test_the_mean_over_batches_by_hand() -> None:
    norm = nn.BatchNorm1d(1, momentum=0.3).eval()
    norm.running_mean.fill_(7)
    norm.running_var.fill_(7)
    assert recalibrate(norm, [column(0, 2), column(4, 4, 7)]) == 1
    assert norm.running_mean.item() == pytest.approx((1 + 5) / 2)
    assert norm.running_var.item() == pytest.approx((2 + 3) / 2)  # unbiased: ((0-1)² + (2-1)²) / 1 and (1 + 1 + 4) / 2
    assert (norm.momentum, norm.training) == (0.3, False)


def test_later_layers_see_what_earlier_ones_give_in_training_mode() -> None:
    """The second layer's input is normalised by the batch's own statistics: -1 and 1 after the first."""
    model = nn.Sequential(nn.BatchNorm1d(1, eps=1e-9, affine=False), nn.BatchNorm1d(1)).eval()
    recalibrate(model, [column(10, 30)])
    assert model[1].running_mean.item() == pytest.approx(0)
    assert model[1].running_var.item() == pytest.approx(2)


def test_only_statistics_change_and_dropout_is_off() -> None:
    model = Small(dropout=0.9).train()
    model.encoder[4].eval()
    modes = [m.training for m in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dropped: list[bool] = []
    model.encoder[-1].register_forward_hook(lambda m, x, y: dropped.append(m.training))
    random = torch.get_rng_state()
    assert recalibrate(model, small_loaders().test) == 2
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in model.named_buffers()}
    assert [m.training for m in model.modules()] == modes
    assert dropped == [False, False]
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in model.parameters())


def test_layers_without_statistics_or_out_of_reach_are_left_alone() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.bare = nn.BatchNorm1d(1), nn.BatchNorm1d(1, track_running_stats=False)
            self.unused = nn.BatchNorm1d(1)

        def forward(self, inputs: Tensor) -> Tensor:
            result: Tensor = self.bare(self.used(inputs))
            return result

    model = Half()
    model.unused.running_mean.fill_(3)
    model.unused.num_batches_tracked.fill_(5)
    assert recalibrate(model, [column(1, 3)]) == 1
    assert model.used.running_mean.item() == 2
    assert (model.unused.running_mean.item(), model.unused.num_batches_tracked.item()) == (3, 5)
    assert recalibrate(nn.Linear(1, 1), []) == 0


def test_after_a_failure_the_statistics_are_the_old_ones() -> None:
    model = Small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = next(iter(small_loaders().test))
    wrong = (torch.zeros(2, 5, 8, 8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(RuntimeError):
        recalibrate(model, [first, wrong])
    with pytest.raises(InputError, match="yield nothing"):
        recalibrate(model, [])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.encoder[1].momentum == 0.1


def test_images_without_labels_do() -> None:
    one, other = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    assert recalibrate(one, [column(0, 2)]) == recalibrate(other, [column(0, 2)[0]]) == 1
    assert one.running_mean.item() == other.running_mean.item() == 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_batches_that_would_spoil_the_statistics_are_refused(value: float) -> None:
    norm = nn.BatchNorm1d(1)
    with pytest.raises(InputError, match="nan or infinite"):
        recalibrate(norm, [column(0, 2), column(1, value)])
    assert (norm.running_mean.item(), norm.running_var.item(), norm.num_batches_tracked.item()) == (0, 1, 0)


def test_only_a_batch_that_is_too_small_is_called_too_small() -> None:
    class Picky(nn.BatchNorm1d):
        def forward(self, input: Tensor) -> Tensor:
            raise ValueError("images must be 224 px")

    with pytest.raises(InputError, match=r"more than one image per batch.*prune\.batch"):
        recalibrate(nn.BatchNorm1d(1), [column(3)])
    with pytest.raises(ValueError, match=r"^images must be 224 px$"):
        recalibrate(Picky(1), [column(3, 4)])


def test_a_counter_that_moves_in_the_forward_is_no_statistic() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, inputs: Tensor) -> Tensor:
            self.calls += 1
            result: Tensor = self.norm(inputs)
            return result

    model = Outer()
    assert recalibrate(model, [column(0, 2)]) == 1
    assert (model.calls.item(), model.norm.running_mean.item()) == (0, 1)
