"""Heads against what the data allow; features against the model's own head."""

import numpy as np
import timm
import torch

from transfer.analysis.heads import HEADS, STRENGTHS, features


def clouds(seed: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of 20 points, ``apart`` standard deviations from one another."""
    draw = np.random.default_rng(seed)
    labels = np.arange(60) % 3
    return draw.standard_normal((60, 5)) + apart * np.eye(3, 5)[labels], labels


def test_separable_classes_are_found_and_noise_is_not() -> None:
    for fit in HEADS.values():
        assert fit(clouds(0, 30.0), clouds(1, 30.0)).accuracy == 1.0
        assert fit(clouds(0, 0.0), clouds(1, 0.0)).accuracy < 0.6


def test_the_strength_is_one_of_the_grid_and_the_test_split_does_not_choose_it() -> None:
    for fit in HEADS.values():
        head = fit(clouds(0, 1.0), clouds(1, 1.0))
        assert head.strength in STRENGTHS
        points, labels = clouds(1, 1.0)
        assert fit(clouds(0, 1.0), (points, (labels + 1) % 3)).strength == head.strength


def test_features_are_what_the_models_own_head_reads() -> None:
    with torch.random.fork_rng():
        model = timm.create_model("test_resnet", num_classes=4).train()
        images = torch.randn(3, 3, 32, 32)
    found, labels = features(model, [(images[:2], torch.tensor([0, 1])), (images[2:], torch.tensor([3]))])
    assert model.training
    head = model.get_classifier()
    with torch.no_grad():
        wanted = model.eval()(images)
        again = torch.from_numpy(found).float() @ head.weight.T + head.bias
    torch.testing.assert_close(again, wanted)
    assert labels.tolist() == [0, 1, 3]
