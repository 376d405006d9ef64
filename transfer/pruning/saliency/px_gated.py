"""PX-gated: every path weighted by its own activation and input, in one network instead of a bound by two (ours)."""

from torch import Tensor

from transfer.pruning.gated import GatedNetwork
from transfer.pruning.problem import Batch, Problem
from transfer.pruning.processes import Statistic
from transfer.pruning.scaled import Scaled, aligned


def score(problem: Problem) -> dict[str, Tensor]:
    """Return ``θ² · ∂R'/∂θ²`` with ``R' = Σ_n Σ_k f_gated^k(x_n²; θ², a_n)``.

    f_gated is the squared network behind the gates of the real forward f(x_n). PX bounds a sum over paths of products
    (input² · activation) · (weights²) by the product of two sums; here the products stay together. A batch costs a
    forward of the model and a forward and backward of f_gated.
    """
    network = GatedNetwork(problem)

    def of_batch(batch: Batch) -> Statistic:
        exponent, gradients = network.gradients(batch)
        return {name: Scaled(g, exponent) for name, g in gradients.items()}

    sums, _ = problem.total(of_batch)
    return {name: g.mul_(network.squares[name].detach()) for name, g in aligned(sums).items()}
