"""Evaluation equals accuracy and mean loss by hand, and leaves the model as it was."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transfer
from checkpoints import InputError
from transfer.tasks.segmentation import Segmentation
from transfer.training import Loaders, evaluate


def uneven(model: nn.Module) -> None:
    """Put modules in different modes, as with a frozen BatchNorm."""
    model.train()
    for module in list(model.modules())[::3]:
        module.training = False


def test_accuracy_and_mean_loss_over_batches_of_different_size(
    network: Callable[[], nn.Module], loaders: Loaders
) -> None:
    model = network().eval()
    found = evaluate(model, loaders.test)
    inputs, targets = (torch.cat(parts) for parts in zip(*loaders.test, strict=True))
    assert [len(x) for x, _ in loaders.test] == [16, 16, 8]
    with torch.no_grad():
        outputs = model(inputs)
    assert found["accuracy"] == (outputs.argmax(1) == targets).double().mean().item()
    assert found["loss"] == pytest.approx(F.cross_entropy(outputs.double(), targets).item(), rel=1e-5)


def test_the_model_is_left_as_it_was(network: Callable[[], nn.Module], loaders: Loaders) -> None:
    model = network()
    uneven(model)
    modes, random = [m.training for m in model.modules()], torch.get_rng_state()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(model, loaders.test)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_model_is_left_as_it_was_when_the_data_fail(network: Callable[[], nn.Module], loaders: Loaders) -> None:
    def failing() -> Iterator[tuple[Tensor, Tensor]]:
        yield next(iter(loaders.test))
        raise InputError("a.png is not an image")

    model = network()
    uneven(model)
    modes = [m.training for m in model.modules()]
    with pytest.raises(InputError, match=r"a\.png"):
        evaluate(model, failing())
    assert [m.training for m in model.modules()] == modes


def test_empty_parts_of_a_batch_are_passed_over(network: Callable[[], nn.Module], loaders: Loaders) -> None:
    model = network()
    empty = (torch.zeros(0, 3, 16, 16), torch.zeros(0, dtype=torch.int64))
    assert evaluate(model, [empty, *loaders.test, empty]) == evaluate(model, loaders.test)


def test_no_batch_is_refused(network: Callable[[], nn.Module]) -> None:
    with pytest.raises(InputError, match="yield nothing"):
        evaluate(network(), [])


def test_it_is_a_call_of_the_package() -> None:
    assert transfer.evaluate is evaluate


def test_the_loss_of_maps_is_the_mean_over_labelled_pixels_however_they_are_batched() -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Conv2d(3, 4, 1)
    images = torch.randn(3, 3, 5, 5, generator=generator)
    labels = torch.randint(0, 4, (3, 5, 5), generator=generator)
    labels[0, :4], labels[2] = 255, 255
    expected = F.cross_entropy(model(images).double(), labels, ignore_index=255).item()
    task = Segmentation(("a", "b", "c", "d"))
    for sizes in ([3], [1, 2], [1, 1, 1]):
        batches = list(zip(images.split(sizes), labels.split(sizes), strict=True))
        assert evaluate(model, batches, task=task)["loss"] == pytest.approx(expected, rel=1e-5)
