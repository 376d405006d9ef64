"""mIoU to the pixel: against loops over pixels, against torchmetrics, and against arithmetic on paper."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from checkpoints import InputError
from transfer.tasks import Task
from transfer.tasks.segmentation import Segmentation
from transfer.training import evaluate

NAMES = ("background", "cat", "dog", "road", "sky", "tree", "wall")


def maps(
    seed: int,
    size: tuple[int, int, int],
    classes: int,
    *,
    absent: tuple[int, ...] = (),
    dtype: torch.dtype = torch.int64,
) -> tuple[Tensor, Tensor]:
    """Random logits (N, K, H, W) that are right now and then, and labels with 255; ``absent`` classes in neither."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.tensor([k for k in range(classes) if k not in absent])
    labels = present[torch.randint(len(present), size, generator=generator)]
    guess = torch.where(torch.rand(size, generator=generator) < 0.6, labels, labels.flip(0).roll(1, -1))
    logits = F.one_hot(guess, classes).permute(0, 3, 1, 2) * 10.0 + torch.rand(
        (size[0], classes, *size[1:]), generator=generator
    )
    labels[torch.rand(size, generator=generator) < 0.2] = 255
    return logits, labels.to(dtype)


def by_hand(logits: Tensor, labels: Tensor, classes: int) -> tuple[np.ndarray, dict[str, float]]:
    """The confusion matrix pixel by pixel, and the metrics as their definitions read."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    predicted = np.argmax(logits.numpy(), axis=1)
    for truth, guess in zip(labels.numpy().ravel(), predicted.ravel(), strict=True):
        if truth != 255:
            matrix[truth, guess] += 1
    ious, accuracies = [], []
    for k in range(classes):
        union = matrix[k, :].sum() + matrix[:, k].sum() - matrix[k, k]
        if union:
            ious.append(matrix[k, k] / union)
        if matrix[k, :].sum():
            accuracies.append(matrix[k, k] / matrix[k, :].sum())
    pixel = np.trace(matrix) / matrix.sum()
    return matrix, {"miou": np.mean(ious), "pixel_accuracy": pixel, "class_accuracy": np.mean(accuracies)}


@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(2, 9)),
    classes=st.integers(2, 7),
    dtype=st.sampled_from([torch.uint8, torch.int16, torch.int32, torch.int64]),
)
@settings(max_examples=60, deadline=None)
def test_counts_and_metrics_are_those_of_a_loop_over_pixels(
    seed: int, size: tuple[int, int, int], classes: int, dtype: torch.dtype
) -> None:
    logits, labels = maps(seed, size, classes, dtype=dtype)
    labels[0, 0, 0] = 1
    before = labels.clone()
    task = Segmentation(NAMES[:classes])
    counts = task.counts(logits, labels)
    matrix, expected = by_hand(logits, labels, classes)
    assert counts.dtype == torch.int64
    assert torch.equal(counts, torch.from_numpy(matrix))
    assert task.metrics(counts) == pytest.approx(expected, abs=1e-12)
    assert torch.equal(labels, before)


@pytest.mark.parametrize("size", [(1, 5, 7), (3, 17, 13), (2, 33, 1)])
@pytest.mark.parametrize("absent", [(), (2,), (0, 5)])
def test_metrics_are_torchmetrics(size: tuple[int, int, int], absent: tuple[int, ...]) -> None:
    logits, labels = maps(sum(size), size, 7, absent=absent)
    task = Segmentation(NAMES)
    found = task.metrics(task.counts(logits, labels))
    jaccard = MulticlassJaccardIndex(7, ignore_index=255, average="macro")
    assert found["miou"] == pytest.approx(float(jaccard(logits, labels)), abs=1e-6)
    pixel = MulticlassAccuracy(7, ignore_index=255, average="micro")
    assert found["pixel_accuracy"] == pytest.approx(float(pixel(logits, labels)), abs=1e-6)
    mean = MulticlassAccuracy(7, ignore_index=255, average="macro")
    assert found["class_accuracy"] == pytest.approx(float(mean(logits, labels)), abs=1e-6)


def test_predicting_the_truth_is_exactly_one() -> None:
    _, labels = maps(0, (2, 11, 9), 7, absent=(3,), dtype=torch.uint8)
    truth = torch.where(labels == 255, 6, labels.long())
    logits = F.one_hot(truth, 7).permute(0, 3, 1, 2).float()
    task = Segmentation(NAMES)
    assert task.metrics(task.counts(logits, labels)) == {"miou": 1.0, "pixel_accuracy": 1.0, "class_accuracy": 1.0}


def test_a_constant_prediction_is_what_arithmetic_says() -> None:
    """8 pixels: 4 of class 0, 2 of class 1, 2 ignored; everything called 1: IoU 0 and 2/6."""
    labels = torch.tensor([[[0, 0, 1, 255], [0, 0, 1, 255]]])
    logits = torch.zeros(1, 4, 2, 4)
    logits[:, 1] = 1
    task = Segmentation(NAMES[:4])
    found = task.metrics(task.counts(logits, labels))
    assert found == pytest.approx({"miou": (0 + 2 / 6) / 2, "pixel_accuracy": 2 / 6, "class_accuracy": 1 / 2})


def test_a_class_that_is_predicted_but_absent_counts_as_zero() -> None:
    labels = torch.zeros(1, 1, 4, dtype=torch.uint8)
    logits = F.one_hot(torch.tensor([[[0, 0, 0, 2]]]), 3).permute(0, 3, 1, 2).float()
    task = Segmentation(NAMES[:3])
    found = task.metrics(task.counts(logits, labels))
    assert found["miou"] == pytest.approx((3 / 4 + 0) / 2)
    assert found["class_accuracy"] == pytest.approx(3 / 4)


def test_the_first_of_equal_logits_is_the_prediction() -> None:
    """As numpy and argmax have it, so that a mask does not depend on how the maximum is found."""
    logits = torch.zeros(1, 3, 4, 4)
    assert Segmentation(NAMES[:3]).counts(logits, torch.ones(1, 4, 4, dtype=torch.uint8)).tolist() == [
        [0] * 3,
        [16, 0, 0],
        [0] * 3,
    ]


def test_counts_add_over_uneven_batches() -> None:
    logits, labels = maps(5, (5, 8, 6), 7)
    task = Segmentation(NAMES)
    parts = [task.counts(logits[a:b], labels[a:b]) for a, b in ((0, 2), (2, 3), (3, 5))]
    assert torch.equal(sum(parts[1:], parts[0]), task.counts(logits, labels))


def test_the_table_of_classes_names_the_absent_ones() -> None:
    labels = torch.tensor([[[0, 0, 1, 255]]])
    logits = F.one_hot(torch.tensor([[[0, 2, 1, 1]]]), 4).permute(0, 3, 1, 2).float()
    task = Segmentation(NAMES[:4])
    assert task.table(task.counts(logits, labels)) == [
        {"class": "background", "iou": 0.5, "truth": 2, "predicted": 1},
        {"class": "cat", "iou": 1.0, "truth": 1, "predicted": 1},
        {"class": "dog", "iou": 0.0, "truth": 0, "predicted": 1},
        {"class": "road", "iou": None, "truth": 0, "predicted": 0},
    ]


def test_the_loss_is_the_mean_over_labelled_pixels() -> None:
    logits, labels = maps(7, (2, 6, 5), 7, dtype=torch.uint8)
    kept = [(n, i, j) for n, i, j in np.ndindex(2, 6, 5) if labels[n, i, j] != 255]
    expected = np.mean([-F.log_softmax(logits[n, :, i, j].double(), 0)[int(labels[n, i, j])] for n, i, j in kept])
    assert 0 < len(kept) < 60
    assert float(Segmentation(NAMES).loss(logits, labels)) == pytest.approx(float(expected), rel=1e-5)


def test_a_batch_without_a_label_has_loss_zero_and_a_gradient() -> None:
    logits = torch.randn(2, 7, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = Segmentation(NAMES).loss(logits, torch.full((2, 4, 4), 255, dtype=torch.uint8))
    assert float(loss.detach()) == 0
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize(
    ("label", "dtype"), [(7, torch.uint8), (254, torch.uint8), (-1, torch.int8), (256, torch.int64)]
)
def test_a_label_that_is_no_class_is_named(label: int, dtype: torch.dtype) -> None:
    logits, labels = torch.zeros(1, 7, 2, 2), torch.zeros(1, 2, 2, dtype=dtype)
    labels[0, 1, 0] = label
    for call in (Segmentation(NAMES).counts, Segmentation(NAMES).loss):
        with pytest.raises(InputError, match=f"the label {label}; give 0 to 6 .7 classes., or 255 for none") as caught:
            call(logits, labels)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.zeros(1, 6, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8)),
        (torch.zeros(1, 7, 4, 4), torch.zeros(1, 4, 5, dtype=torch.uint8)),
        (torch.zeros(2, 7, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8)),
        (torch.zeros(1, 7, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.uint8)),
        (torch.zeros(1, 7, 4, 4), torch.zeros(1, 4, 4)),
    ],
    ids=["classes", "sides", "images", "channel", "float"],
)
def test_maps_that_do_not_belong_together_are_refused(outputs: Tensor, targets: Tensor) -> None:
    for call in (Segmentation(NAMES).counts, Segmentation(NAMES).loss):
        with pytest.raises(InputError, match=r"do not belong to 7 classes|dtype torch\.float32"):
            call(outputs, targets)


def test_no_labelled_pixel_is_no_metric() -> None:
    with pytest.raises(InputError, match="no pixel of the targets has a label other than 255"):
        Segmentation(NAMES).metrics(torch.zeros(7, 7, dtype=torch.int64))


def test_classes_must_leave_room_for_the_ignored_label() -> None:
    for count in (0, 256):
        with pytest.raises(InputError, match=f"{count} classes; give 1 to 255"):
            Segmentation(("c",) * count)


def test_255_classes_are_counted_apart_from_the_ignored_label() -> None:
    labels = torch.tensor([[[254, 255, 0]]], dtype=torch.uint8)
    logits = F.one_hot(torch.tensor([[[254, 3, 1]]]), 255).permute(0, 3, 1, 2).float()
    counts = Segmentation(("c",) * 255).counts(logits, labels)
    assert counts.nonzero().tolist() == [[0, 1], [254, 254]]


def test_it_is_a_task_that_evaluation_takes() -> None:
    """Over uneven batches the metric is that of all pixels, not the mean of the batches' metrics."""
    task: Task = Segmentation(NAMES)
    logits, labels = maps(9, (5, 8, 6), 7)
    found = evaluate(nn.Identity(), [(logits[:4], labels[:4]), (logits[4:], labels[4:])], task=task)
    _, expected = by_hand(logits, labels, 7)
    assert found[task.headline.name] == pytest.approx(expected["miou"], abs=1e-12)
    assert set(found) == {"loss", "miou", "pixel_accuracy", "class_accuracy"}
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
