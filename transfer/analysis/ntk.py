"""The neural tangent kernel of a network at its current weights, on real images, over the kept weights.

Θ = Σ_i J_i J_iᵀ, where J_i (n·K) is the gradient of all outputs with respect to weight i, and i runs over the kept
prunable weights (Jacot et al. 2018; its spectrum at fixed weights is figure 5 of Iurada et al. 2024). The network is in
eval mode: BatchNorm uses its stored statistics, so that the outputs of an image depend on no other image.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from checkpoints.errors import InputError
from transfer.pruning.eval_mode import untouched
from transfer.pruning.masks import kept
from transfer.pruning.prunable import prunable
from transfer.pruning.tied import with_twins

MOST_ROWS = 20_000  # the matrix has its square, 3.2 GB
MEMORY = 2 * 2**30  # default bytes for the rows of the Jacobian held at once

Columns = dict[str, Tensor]  # by name, int64 positions in the flattened weight


def ntk(
    model: nn.Module, inputs: Tensor, masks: Mapping[str, Tensor] | None = None, *, chunk: int | None = None
) -> Tensor:
    """Return Θ, (nK, nK) float64: row and column n·K + k belong to output k of image n.

    The model is not modified. Gradients are computed in its own dtype and summed in float64.

    Args:
        model: any network with one output tensor; pruned weights count as 0 even if the model has not zeroed them.
        inputs: images (n, C, H, W) on the model's device.
        masks: True = kept; a prunable weight without a mask is kept entirely, None keeps all.
        chunk: number of full float64 rows of the Jacobian held at once; fewer take less memory and more passes (one per
            ``chunk`` of the n·K rows, times the density). None: as many as fit in 2 GiB, at least 1.

    Raises:
        InputError: unusable inputs or masks, or more than 20,000 outputs in total (as for segmentation maps).
    """
    with untouched(model), torch.no_grad():
        jacobian = _Jacobian.of(model, inputs, masks, chunk)
        theta = torch.zeros(jacobian.rows, jacobian.rows, dtype=torch.float64, device=inputs.device)
        for columns in jacobian.blocks():
            block = jacobian.block(columns)
            theta.addmm_(block, block.T)
    return theta


def trace(
    model: nn.Module, inputs: Tensor, masks: Mapping[str, Tensor] | None = None, *, chunk: int | None = None
) -> float:
    """Return Tr(Θ), the sum of all squared gradients, in one pass and without the matrix; arguments as in :func:`ntk`.

    Raises:
        InputError: as :func:`ntk`.
    """
    with untouched(model), torch.no_grad():
        jacobian = _Jacobian.of(model, inputs, masks, chunk)
        total = torch.zeros((), dtype=torch.float64, device=inputs.device)
        for gradients in jacobian.gradients(jacobian.columns):
            for name, positions in jacobian.columns.items():
                total += gradients[name][:, positions].double().square().sum()
    return float(total)


def spectrum(theta: Tensor, top: int = 10) -> tuple[float, Tensor]:
    """Return the trace of a symmetric matrix and its ``top`` largest eigenvalues, descending (fewer if it is smaller).

    Raises:
        InputError: not a square matrix of finite numbers, or ``top`` below 1.
    """
    if theta.dim() != 2 or theta.shape[0] != theta.shape[1]:
        raise InputError(f"theta has shape {tuple(theta.shape)}; give the square matrix that ntk() returns")
    if not bool(torch.isfinite(theta).all()):
        raise InputError("theta has entries that are nan or infinite; look at the weights, and at the model's dtype")
    if top < 1:
        raise InputError(f"top is {top}; give how many eigenvalues, 1 or more")
    return float(theta.trace()), torch.linalg.eigvalsh(theta).flip(0)[:top]


@dataclass(frozen=True)
class _Jacobian:
    """The Jacobian of all outputs of all images with respect to the kept weights, computed in parts."""

    model: nn.Module
    inputs: Tensor
    weights: dict[str, Tensor]
    columns: Columns
    outputs: int
    chunk: int

    @classmethod
    def of(cls, model: nn.Module, inputs: Tensor, masks: Mapping[str, Tensor] | None, chunk: int | None) -> "_Jacobian":
        weights = {name: weight.detach() for name, weight in prunable(model).items()}
        masks = kept(weights, masks)
        if chunk is None:
            chunk = max(1, MEMORY // (8 * sum(w.numel() for w in weights.values())))
        if chunk < 1:
            raise InputError(f"chunk is {chunk}; give how many rows of the Jacobian to hold, 1 or more")
        return cls(
            model,
            inputs,
            {name: weight.masked_fill(~masks[name], 0) for name, weight in weights.items()},
            {name: mask.flatten().nonzero().squeeze(1) for name, mask in masks.items()},
            _few_outputs(model, inputs),
            chunk,
        )

    @property
    def rows(self) -> int:
        return len(self.inputs) * self.outputs

    def blocks(self) -> Iterator[Columns]:
        """Split the kept weights into blocks whose columns together take the memory of ``chunk`` full rows at most."""
        width = max(1, self.chunk * sum(w.numel() for w in self.weights.values()) // self.rows)
        block: Columns = {}
        room = width
        for name, positions in self.columns.items():
            while len(positions):
                block[name], positions = positions[:room], positions[room:]
                room -= len(block[name])
                if room == 0:
                    yield block
                    block, room = {}, width
        if block:
            yield block

    def block(self, columns: Columns) -> Tensor:
        """Return the given columns, (rows, columns) float64."""
        width = sum(len(positions) for positions in columns.values())
        block = torch.empty(self.rows, width, dtype=torch.float64, device=self.inputs.device)
        row = 0
        for gradients in self.gradients(columns):
            part = torch.cat([gradients[name][:, positions] for name, positions in columns.items()], dim=1)
            block[row : row + len(part)] = part
            row += len(part)
        return block

    def gradients(self, names: Columns) -> Iterator[dict[str, Tensor]]:
        """Yield the gradients of the outputs in order, at most ``chunk`` at a time: (outputs, weights) by name."""
        chosen = {name: self.weights[name] for name in names}
        for image in self.inputs.split(1):

            def outputs(chosen: dict[str, Tensor], image: Tensor = image) -> Tensor:
                weights = with_twins(self.model, {**self.weights, **chosen})
                return functional_call(self.model, weights, (image,)).flatten()

            with sdpa_kernel(SDPBackend.MATH):  # vmap does not support fused attention kernels
                found, pull = vjp(outputs, chosen)  # type: ignore[misc]
            for ones in torch.eye(self.outputs, dtype=found.dtype, device=found.device).split(self.chunk):
                yield {name: gradient.flatten(1) for name, gradient in vmap(pull)(ones)[0].items()}


def outputs(model: nn.Module, inputs: Tensor) -> int:
    """Return the number of outputs per image.

    Raises:
        InputError: unusable inputs, or the model does not return one tensor.
    """
    if not inputs.is_floating_point() or not len(inputs) or not bool(torch.isfinite(inputs).all()):
        raise InputError(
            f"inputs are {inputs.dtype} of shape {tuple(inputs.shape)}; give one or more images of finite floats"
        )
    output = model(inputs[:1])
    if not isinstance(output, Tensor):
        raise InputError(f"the model returns {type(output).__name__}; the kernel wants one tensor of outputs")
    return output.numel()


def _few_outputs(model: nn.Module, inputs: Tensor) -> int:
    count = outputs(model, inputs)
    rows = len(inputs) * count
    if rows > MOST_ROWS:
        raise InputError(
            f"{len(inputs)} images of {count:,} outputs each make a kernel of {rows:,} rows, more than "
            f"{MOST_ROWS:,}; use fewer images" + (", or smaller ones" if model(inputs[:1]).dim() > 2 else "")
        )
    return count
