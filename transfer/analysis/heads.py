"""Linear heads on frozen features: how well they are linearly separable by class."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transfer.pruning.eval_mode import untouched

STRENGTHS = tuple(10.0**power for power in range(-3, 4))
"""Regularisation tried by cross-validation: the ridge's penalty, and the inverse of the logistic head's."""
FOLDS = 5


@dataclass(frozen=True)
class Head:
    """A fitted head: its test accuracy, a fraction, and the regularisation that cross-validation chose."""

    accuracy: float
    strength: float


@torch.no_grad()
def features(model: Any, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the pooled features before the head of a timm model, (N, C) float64, and the labels, (N,)."""
    found, labels = [], []
    with untouched(model):
        model.eval()
        for images, targets in batches:
            pooled = model.forward_head(model.forward_features(images), pre_logits=True)
            found.append(pooled.flatten(1).double().cpu())
            labels.append(targets.cpu())
    return torch.cat(found).numpy(), torch.cat(labels).numpy()


def ridge(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> Head:
    """Fit a ridge classifier on the training features; its penalty is chosen by leave-one-out on them."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=STRENGTHS)).fit(*train)
    return Head(float(head.score(*test)), float(head[-1].alpha_))


def logistic(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> Head:
    """Fit a logistic regression on the training features; its regularisation is chosen by folds of them."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(FOLDS, int(np.unique(train[1], return_counts=True)[1].min()))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    name = "logisticregression__C"
    head = GridSearchCV(pipeline, {name: STRENGTHS}, cv=folds).fit(*train)
    return Head(float(head.score(*test)), float(head.best_params_[name]))


HEADS = {"ridge": ridge, "logistic": logistic}
