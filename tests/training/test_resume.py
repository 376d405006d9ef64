"""A training that a signal stops at any step goes on to the bits of an undisturbed one: weights, optimizer, metrics."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2.functional import to_pil_image

from checkpoints import InputError
from tests.training.small import LOOK, Small, equal, images, left_behind, small_loaders, small_masks, train_small
from transfer.data.augment import Augment
from transfer.data.dataset import ImageFiles
from transfer.data.image_batches import Batches
from transfer.recipe import Train
from transfer.training import Loaders, finetune

SGD = Train(epochs=2, batch=8, lr=0.05, nesterov=True, weight_decay=1e-3, schedule="cosine", clip_norm=1.0)
STEPS = 8  # four an epoch
CASES = {
    "sgd, masks": (SGD, {"masks": small_masks()}),
    "adamw": (replace(SGD, optimizer="adamw", nesterov=False, lr=1e-2, schedule="poly"), {}),
    "dropout": (replace(SGD, lr_trunk=0.01), {"dropout": 0.5}),
    "augment": (replace(SGD, channels_last=False), {"data": small_loaders(augment=Augment(pad_crop=2, flip=True))}),
    "frozen norm": (replace(SGD, freeze_norm=True, warmup=1), {"masks": small_masks(0.5)}),
}


def stop_at(step: int, number: int = signal.SIGTERM) -> Callable[[int], None]:
    return lambda now: signal.raise_signal(number) if now == step else None


@pytest.mark.parametrize("case", CASES)
def test_stopped_at_any_step_it_goes_on_to_the_same_bits(case: str, tmp_path: Path) -> None:
    """Within an epoch, at its end and in the next; the first case also after the first step and the last."""
    train, options = CASES[case]
    expected, _ = train_small(train, tmp_path / "whole", **options)
    for step in (1, 3, 4, 6, STEPS) if case == "sgd, masks" else (3, 4, 6):
        folder = tmp_path / str(step)
        with pytest.raises(SystemExit) as stop:
            train_small(train, folder, at_step=stop_at(step), **options)
        assert stop.value.code == 143
        assert left_behind(folder)["scheduler_step"] == step
        torch.rand(7)  # the random state of the next process is another
        history, _ = train_small(train, folder, **options)
        assert (history.epochs, history.best_epoch) == (expected.epochs, expected.best_epoch)
        assert len(history.seconds) == 2
        assert equal(left_behind(folder), left_behind(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # torch's compiler
def test_compiled_it_goes_on_to_the_same_bits_in_another_process(tmp_path: Path) -> None:
    """With batches of two sizes; within the first epoch, and in the second, where both sizes have been seen."""
    train = replace(SGD, compile=True)
    options = {"data": small_loaders(images(28)), "masks": small_masks(), "dropout": 0.5}
    for name, step in (("whole", None), ("early", 2), ("late", 6)):
        torch.compiler.reset()
        if step is not None:
            with pytest.raises(SystemExit):
                train_small(train, tmp_path / name, at_step=stop_at(step), **options)
            torch.compiler.reset()
        train_small(train, tmp_path / name, **options)
        assert equal(left_behind(tmp_path / name), left_behind(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # torch's compiler
def test_compiled_and_not_are_equal_up_to_rounding(tmp_path: Path) -> None:
    (_, usual), (_, other) = (train_small(replace(SGD, compile=c), tmp_path / str(c)) for c in (False, True))
    for a, b in zip(usual.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_stopped_at_every_step(tmp_path: Path) -> None:
    options = {"dropout": 0.5, "masks": small_masks()}
    train_small(SGD, tmp_path / "whole", **options)
    for _ in range(STEPS):
        with pytest.raises(SystemExit):
            train_small(SGD, tmp_path / "often", at_step=stop_at(1), **options)
    train_small(SGD, tmp_path / "often", **options)
    assert equal(left_behind(tmp_path / "often"), left_behind(tmp_path / "whole"))


def test_dropout_draws_anew_at_each_step(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []
    model = Small(dropout=0.5)
    model.encoder[-1].register_forward_hook(lambda m, x, y: seen.append(y == 0) if m.training else None)
    finetune(model, None, small_loaders(), SGD)
    assert len(seen) == STEPS
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.slow
def test_files_decoded_by_workers(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(32)]
    for path, pixels in zip(paths, images().pixels, strict=True):
        to_pil_image(pixels).save(path)
    files = ImageFiles(tuple(paths), torch.arange(32) % 3)
    data = small_loaders(files, workers=2, augment=Augment(resized_crop=(0.3, 1.0), flip=True))
    train_small(SGD, tmp_path / "whole", data=data)
    for step in (1, 6):
        folder = tmp_path / f"stopped-{step}"
        with pytest.raises(SystemExit):
            train_small(SGD, folder, data=data, at_step=stop_at(step))
        train_small(SGD, folder, data=data)
        assert equal(left_behind(folder), left_behind(tmp_path / "whole"))


def test_a_stop_during_the_test_keeps_the_trained_epoch(tmp_path: Path) -> None:
    class Stopping(list):  # type: ignore[type-arg]
        def __iter__(self):  # type: ignore[no-untyped-def]
            for number, batch in enumerate(list.__iter__(self)):
                if number == 1:
                    signal.raise_signal(signal.SIGTERM)
                yield batch

    data = small_loaders()
    train_small(SGD, tmp_path / "whole", data=data)
    model_modes = []
    with pytest.raises(SystemExit):
        train_small(SGD, tmp_path / "stopped", data=Loaders(data.train, Stopping(data.test)))
    saved = left_behind(tmp_path / "stopped")
    assert (saved["scheduler_step"], saved["done"], saved["epochs"]) == (4, 4, [])

    def note(step: int) -> None:
        model_modes.append(step)

    train_small(SGD, tmp_path / "stopped", data=data, at_step=note)
    assert len(model_modes) == 4, "the first epoch is only tested"
    assert equal(left_behind(tmp_path / "stopped"), left_behind(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 0.1}, r"train\.lr 0\.05, now 0\.1\)"),
        ({"precision": "bf16"}, "precision no, now bf16"),
        ({"epochs": 5, "milestones": (1,)}, r"train\.epochs 2, now 5; train\.milestones \(\), now \(1,\)"),
    ],
)
def test_a_resume_with_other_settings_is_refused(change: dict, words: str, tmp_path: Path) -> None:
    train = replace(SGD, precision="no")
    train_small(train, tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        train_small(replace(train, **change), tmp_path)
    assert "\n" not in str(caught.value)


def test_another_model_or_number_of_steps_is_refused(tmp_path: Path) -> None:
    train_small(SGD, tmp_path)
    wider = Small()
    wider.head = torch.nn.Linear(16, 4)
    with pytest.raises(InputError, match=r"model [0-9a-f]+, now [0-9a-f]+"):
        finetune(wider, None, small_loaders(), SGD, folder=tmp_path)
    with pytest.raises(InputError, match="steps an epoch 4, now 2"):
        train_small(SGD, tmp_path, data=small_loaders(images(16)))


def test_minutes_between_saves_may_change(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        train_small(SGD, tmp_path, at_step=stop_at(3))
    train_small(replace(SGD, save_minutes=1.0), tmp_path)
    assert left_behind(tmp_path)["scheduler_step"] == STEPS


def test_walks_begin_at_a_batch(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(32)]
    for path, pixels in zip(paths, images().pixels, strict=True):
        to_pil_image(pixels).save(path)
    for split in (images(), ImageFiles(tuple(paths), torch.arange(32) % 3)):
        for augment in (None, Augment(pad_crop=2, flip=True)):
            for rank in (0, 1):
                walk = Batches(split, batch=6, shuffle=True, augment=augment, rank=rank, world=2, **LOOK)
                walk.set_epoch(3)
                whole = [(x.clone(), y) for x, y in walk]
                assert len(whole) == len(walk) == 6
                for start in range(7):
                    walk.set_epoch(3, start)
                    assert equal([(x.clone(), y) for x, y in walk], whole[start:])
                walk.set_epoch(3)
                assert equal([(x.clone(), y) for x, y in walk], whole)


def test_nothing_before_the_start_is_decoded(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{i}.png" for i in range(8))
    for path in paths[6:]:
        to_pil_image(images().pixels[0]).save(path)  # the others do not exist
    walk = Batches(ImageFiles(paths, torch.arange(8) % 3), batch=2, **LOOK)
    walk.set_epoch(0, 3)
    assert len(list(walk)) == 1
    with pytest.raises(ValueError, match=r"start must lie in \[0, 4\], got 5"):
        walk.set_epoch(0, 5)
