"""SynFlow-L2-Dist: SynFlow-L2 with the mean image as its input (Gebhart 2021, §4.2)."""

import torch
from torch import Tensor

from transfer.pruning.flow import mean_image, products
from transfer.pruning.problem import Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return SynFlow-L2's score on μ, the mean over all images of ``|x|`` at each pixel, in place of ones."""
    return products(problem, mean_image(problem), view=torch.square, statistics=problem.constants())
