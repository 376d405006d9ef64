"""Eigenvalues of the neural tangent kernel: all of them from the matrix, or the largest without it.

The kernel is that of :mod:`transfer.analysis.ntk`. A small one is computed and decomposed. Of a large one only products
Θv = J(Jᵀv) are computed, and ARPACK's Lanczos iteration finds the largest eigenvalues. For a symmetric matrix an
eigenvalue lies within ‖Θv − λv‖ of each λ with a unit vector v, so that the residual bounds the error, but for the
rounding of the products: in float32 an activation near 0 may fall to the other side of a ReLU.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from checkpoints.errors import InputError
from transfer.analysis.ntk import ntk, outputs
from transfer.errors import RunError
from transfer.precision import full_float32
from transfer.pruning.eval_mode import untouched
from transfer.pruning.masks import kept
from transfer.pruning.prunable import prunable
from transfer.pruning.tied import with_twins

EXACT_ROWS = 1000  # a pass per row and image; 50 eigenvalues by Lanczos take a few hundred products
TOLERANCE = 1e-3  # of Lanczos, relative to each eigenvalue; the error of an eigenvalue falls with its square
BATCH = 32  # images per pass of a product
MEMORY = 4 * 2**30  # bytes for the vectors of Lanczos: twice as many as eigenvalues


@dataclass(frozen=True)
class Eigenvalues:
    """Eigenvalues of a kernel, descending.

    Attributes:
        values: all of them, or the largest.
        rows: size of the kernel, n·K.
        trace: their sum over all; None if only the largest are known.
        residual: the largest ‖Θv − λv‖, relative to the largest eigenvalue; None if the matrix was decomposed.
    """

    values: list[float]
    rows: int
    trace: float | None
    residual: float | None


def eigenvalues(
    model: nn.Module, inputs: Tensor, masks: Mapping[str, Tensor] | None = None, *, top: int = 50,
    exact_rows: int = EXACT_ROWS,
) -> Eigenvalues:  # fmt: skip
    """Return all eigenvalues of a kernel of up to ``exact_rows`` rows, the ``top`` largest of a larger one.

    Args:
        model: as in :func:`transfer.analysis.ntk.ntk`, like inputs and masks; not modified.
        inputs: images (n, C, H, W) on the model's device.
        masks: True = kept; None keeps all.
        top: how many of a larger kernel.
        exact_rows: n·K up to which the matrix is computed.

    Raises:
        InputError: unusable inputs or masks, ``top`` below 1, or more rows than memory holds.
        RunError: Lanczos did not converge.
    """
    if top < 1:
        raise InputError(f"top is {top}; give how many eigenvalues, 1 or more")
    with untouched(model), torch.no_grad():
        rows = len(inputs) * outputs(model, inputs)
    if rows <= exact_rows:
        theta = ntk(model, inputs, masks)
        return Eigenvalues(torch.linalg.eigvalsh(theta).flip(0).tolist(), rows, float(theta.trace()), None)
    if 8 * rows * (2 * top + 1) > MEMORY:
        raise InputError(
            f"{len(inputs)} images make a kernel of {rows:,} rows, too many for {top} eigenvalues; use fewer of "
            "either, or smaller images"
        )
    return _lanczos(_Kernel(model, inputs, masks), rows, min(top, rows - 1))


def _lanczos(kernel: "_Kernel", rows: int, top: int) -> Eigenvalues:
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    operator = LinearOperator((rows, rows), matvec=kernel, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(rows)
    try:
        values, vectors = eigsh(operator, top, which="LA", v0=start, tol=TOLERANCE)
    except ArpackError as error:
        raise RunError(f"Lanczos found no {top} eigenvalues ({error}); ask for fewer") from error
    off = [np.linalg.norm(kernel(v) - value * v) for value, v in zip(values, vectors.T, strict=True)]
    largest = float(values.max())
    return Eigenvalues(sorted(values.tolist(), reverse=True), rows, None, float(max(off)) / (largest or 1.0))


class _Kernel:
    """The product of the kernel with a vector, in the precision of the model: float64 takes five times as long."""

    def __init__(self, model: nn.Module, inputs: Tensor, masks: Mapping[str, Tensor] | None) -> None:
        self.model = copy.deepcopy(model).eval()
        weights = {name: weight.detach() for name, weight in prunable(self.model).items()}
        self.inputs = inputs.to(next(iter(weights.values())).dtype).split(BATCH)
        self.masks = kept(weights, masks)
        self.weights = {name: weight.masked_fill(~self.masks[name], 0) for name, weight in weights.items()}

    @torch.no_grad()
    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """Return Θ · vector."""
        rows = torch.from_numpy(np.ascontiguousarray(vector)).to(self.inputs[0])
        parts = rows.reshape(sum(map(len, self.inputs)), -1).split(BATCH)
        with full_float32(), sdpa_kernel(SDPBackend.MATH):  # fused attention cannot be differentiated twice
            direction = self._backward(parts)
            found = torch.cat([self._forward(images, direction) for images in self.inputs])
        return found.double().cpu().numpy()

    def _forward(self, images: Tensor, direction: dict[str, Tensor]) -> Tensor:
        """Return J · direction: u → Jᵀu is linear, so that its own transpose is J."""
        found, pull = vjp(self._outputs(images), self.weights)  # type: ignore[misc]
        _, push = vjp(lambda u: pull(u)[0], torch.zeros_like(found))  # type: ignore[misc]
        product: Tensor = push(direction)[0]
        return product

    def _backward(self, parts: Any) -> dict[str, Tensor]:
        total = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        for images, part in zip(self.inputs, parts, strict=True):
            _, pull = vjp(self._outputs(images), self.weights)  # type: ignore[misc]
            for name, gradient in pull(part.flatten())[0].items():
                total[name] += gradient.masked_fill(~self.masks[name], 0)
        return total

    def _outputs(self, images: Tensor) -> Any:
        return lambda weights: functional_call(self.model, with_twins(self.model, weights), (images,)).flatten()
