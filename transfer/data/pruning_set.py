"""The fixed, class-balanced images that pruning sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data.batches import Batches
from transfer.data.dataset import Images, Split
from transfer.data.from_files import Decoder
from transfer.data.order import generator
from transfer.data.preprocess import Preprocess


class PruningSet(Batches):
    """Batches that are the same on each walk.

    ``indices``: int64 (K · per_class,), where the images stand in the split. ``digest``: 16 hexadecimal
    digits that name the images by their pixels and labels.
    """

    indices: Tensor
    digest: str


def pruning_set(
    split: Split,
    classes: Sequence[str],
    *,
    per_class: int = 10,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: str = "bilinear",
    batch: int = 128,
    seed: int = 0,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world: int = 1,
) -> PruningSet:
    """Choose ``per_class`` images of each class from the seed, in turn, so that each batch is about balanced.

    They get the test-time transform; files are decoded once, here. Raises InputError when a class has fewer
    images, and as :class:`Batches` does.
    """
    indices = balanced(split.labels, classes, per_class=per_class, seed=seed)
    chosen = split.subset(indices)
    if not isinstance(chosen, Images):
        decoder = Decoder(chosen, Preprocess(size, mean, std, interpolation), seed=seed)
        chosen = Images(torch.stack([decoder[i, 0] for i in range(len(chosen))]), chosen.labels)
    batches = PruningSet(
        chosen, size=size, batch=batch, mean=mean, std=std, interpolation=interpolation,
        device=device, rank=rank, world=world,
    )  # fmt: skip
    batches.indices, batches.digest = indices, _digest(chosen)
    return batches


def balanced(labels: Tensor, classes: Sequence[str], *, per_class: int, seed: int) -> Tensor:
    """Return int64 indices of ``per_class`` samples of each of the K classes: one of each class, K by K.

    Raises InputError for ``per_class`` below 1 and for a class that has fewer, with its name.
    """
    if per_class < 1:
        raise InputError(f"per_class must be 1 image or more, got {per_class}")
    counts = torch.bincount(labels, minlength=len(classes))
    short = (counts < per_class).nonzero()[:, 0].tolist()
    if short:
        name, has = classes[short[0]], int(counts[short[0]])
        more = f" (and {len(short) - 1} more classes have too few)" if len(short) > 1 else ""
        raise InputError(
            f"pruning set: class {name!r} has {has} images, wanted {per_class}{more}; "
            f"ask for at most {int(counts.min())} a class or add images"
        )
    mixed = torch.randperm(len(labels), generator=generator("pruning set", seed))
    grouped = mixed[labels[mixed].argsort(stable=True)]
    first = counts.cumsum(0) - counts
    return grouped[first + torch.arange(per_class)[:, None]].flatten()


def _digest(images: Images) -> str:
    content = hashlib.sha256(repr(tuple(images.pixels.shape)).encode())
    for tensor in (images.pixels, images.labels):
        content.update(tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
