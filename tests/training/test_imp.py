"""A training that ends within an epoch goes on from there; imp rewinds to any optimizer step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.layers import StdConv2d

from checkpoints import InputError
from tests.training.small import Calls, Small, equal, small_loaders, train_small
from transfer.pruning.rewinding import default_rounds
from transfer.recipe import Train
from transfer.training import accelerator_for, finetune
from transfer.training.imp import imp

PLAIN = Train(epochs=3, batch=8, lr=0.05, momentum=0.0, schedule="cosine", warmup=1, precision="no")
STEPS = 4  # an epoch


@pytest.mark.parametrize("until", [1, 4, 6, 11, 12])
def test_stopped_at_a_step_and_taken_up_it_is_one_training(until: int) -> None:
    """Without momentum a fresh optimizer has nothing to forget: weights, losses and rates must be those of one."""
    whole, model, accelerator = Small(0.5), Small(0.5), accelerator_for(PLAIN)
    before: dict[str, torch.Tensor] = {}

    def note(step: int) -> None:
        if step == until + 1:
            before.update({name: value.clone() for name, value in whole.named_parameters()})

    expected = finetune(whole, None, small_loaders(), PLAIN, task=Calls(note), accelerator=accelerator)
    history = finetune(model, None, small_loaders(), PLAIN, until=until, accelerator=accelerator)
    assert (len(history.epochs), history.done) == divmod(until, STEPS)
    assert history.epochs == expected.epochs[: until // STEPS]
    if until < 3 * STEPS:
        assert equal(before, dict(model.named_parameters()))
    after = finetune(model, None, small_loaders(), PLAIN, history=history, accelerator=accelerator)
    assert after.epochs == expected.epochs
    assert equal(model.state_dict(), whole.state_dict())


def test_the_state_of_a_step_within_an_epoch_comes_back(tmp_path: Path) -> None:
    accelerator = accelerator_for(PLAIN)
    first, model = Small(), Small()
    ended = finetune(first, None, small_loaders(), PLAIN, until=6, folder=tmp_path, accelerator=accelerator)
    again = finetune(
        model, None, small_loaders(), PLAIN, until=6, folder=tmp_path, accelerator=accelerator,
        task=Calls(lambda _: pytest.fail("nothing is left to train")),
    )  # fmt: skip
    assert equal(model.state_dict(), first.state_dict())
    assert (again.epochs, again.done) == (ended.epochs, 2)
    assert again.log is not None
    assert equal(again.log, ended.log)


def test_imp_rewinds_to_a_step_and_goes_on_with_its_data_rate_and_losses(tmp_path: Path) -> None:
    accelerator, model, dense = accelerator_for(PLAIN), Small(), Small()
    masks, history = imp(
        model, small_loaders(), PLAIN, sparsity=0.5, rounds=2, accelerator=accelerator, folder=tmp_path, rewind=6
    )
    start = finetune(dense, None, small_loaders(), PLAIN, until=6, accelerator=accelerator)
    masks.apply_(dense)
    assert equal(model.state_dict(), dense.state_dict())
    assert (history.epochs, history.done, history.best_epoch) == (start.epochs, 2, 0)
    seen: list[int] = []
    after = finetune(
        model, masks, small_loaders(), PLAIN, history=history, accelerator=accelerator, task=Calls(seen.append)
    )
    assert len(seen) == 3 * STEPS - 6
    assert [row["epoch"] for row in after.epochs] == [1, 2, 3]
    assert [row["lr"] for row in after.epochs] == pytest.approx([0.05 / 4, 0.05, 0.025])


def test_the_masks_of_round_one_are_the_magnitudes_of_a_training_from_the_step(tmp_path: Path) -> None:
    accelerator, model = accelerator_for(PLAIN), Small()
    masks, _ = imp(
        Small(), small_loaders(), PLAIN, sparsity=0.3, rounds=1, accelerator=accelerator, folder=tmp_path, rewind=5
    )
    finetune(model, None, small_loaders(), PLAIN, accelerator=accelerator)  # no momentum: 5 steps and 7 are 12
    sizes = torch.cat([model.get_parameter(name).detach().abs().flatten() for name in masks])
    cut = sizes.sort().values[round(0.3 * masks.total)]
    assert equal(dict(masks), {name: model.get_parameter(name).detach().abs() >= cut for name in masks})


@pytest.mark.parametrize("rewind", [12, 13])
def test_a_step_that_the_training_does_not_come_to_is_refused(rewind: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"'imp' is {rewind}; .* below 12 \(3 epochs of 4 steps\)"):
        imp(
            Small(), small_loaders(), PLAIN, sparsity=0.5, rounds=1, accelerator=accelerator_for(PLAIN),
            folder=tmp_path / "imp", rewind=rewind,
        )  # fmt: skip
    assert not (tmp_path / "imp").exists()


def test_weights_that_are_computed_in_the_forward_are_refused(tmp_path: Path) -> None:
    model = Small()
    model.encoder[3] = StdConv2d(8, 16, 3, stride=2, padding=1)
    with pytest.raises(InputError, match=r"weight of encoder\.3 \(StdConv2d\) is computed anew"):
        imp(
            model, small_loaders(), PLAIN, sparsity=0.5, rounds=1, accelerator=accelerator_for(PLAIN),
            folder=tmp_path / "imp",
        )  # fmt: skip
    assert not (tmp_path / "imp").exists()


def test_batches_that_end_early_are_refused(tmp_path: Path) -> None:
    data = small_loaders()

    class Short:
        set_epoch = data.train.set_epoch

        def __len__(self) -> int:
            return 5

        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter(data.train)

    with pytest.raises(InputError, match="end after 4 of 5"):
        train_small(replace(PLAIN, epochs=1), tmp_path, data=replace(data, train=Short()))


@pytest.mark.parametrize("rounds", [2, 4, 6, 8, 10, 12, 14, 16, 18])
def test_the_papers_sparsities_are_those_of_whole_rounds(rounds: int) -> None:
    papers = (0.36, 0.5904, 0.738, 0.8322, 0.893, 0.9312, 0.956, 0.9717, 0.982)
    assert default_rounds(papers[rounds // 2 - 1]) == rounds
