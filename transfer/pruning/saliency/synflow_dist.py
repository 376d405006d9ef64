"""SynFlow-Dist: SynFlow with the mean image as its input (Gebhart 2021, §4.2)."""

import torch
from torch import Tensor

from transfer.pruning.flow import mean_image, products
from transfer.pruning.problem import Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return SynFlow's score on μ, the mean over all images of ``|x|`` at each pixel, in place of ones.

    The absolute value: the paper's images are not negative, normalised ones are.
    """
    return products(problem, mean_image(problem), view=torch.abs, statistics=problem.constants())
