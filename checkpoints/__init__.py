"""Load pretrained weights: from a name to a ``Backbone``. Covers file formats and graphs, not training.

Importing this package is cheap: torch and timm are imported by the first ``load``. The architectures that
are not timm's own (``resnet20``) are registered with timm by then; to have them earlier, import
``checkpoints.architectures``.
"""

from __future__ import annotations

import os
import warnings

from . import catalog, embedded, local, published
from .backbone import Backbone, Card
from .catalog import Entry
from .download import NotReady, only_looking
from .errors import InputError, near
from .published import Verified, describe, obtain, stand_in, verify

__all__ = [
    "FORMS",
    "Backbone",
    "Card",
    "Entry",
    "InputError",
    "NotReady",
    "Verified",
    "describe",
    "load",
    "names",
    "obtain",
    "only_looking",
    "save",
    "stand_in",
    "verify",
]

# What ``load`` takes beside ``names()``.
FORMS = ("timm:<model.tag>", "open_clip:<model>/<tag>", "random:<arch>", "<path>@<arch>")

save = local.save


def names() -> list[str]:
    """Return the backbones that have a name of their own; ``load`` also takes the ``FORMS``."""
    return [*catalog.entries(), embedded.NAME]


def load(name: str | os.PathLike[str], *, root: published.Root = None, seed: int = 0) -> Backbone:
    """Load a backbone by name: one of ``names()``, or one of ``FORMS``.

    ``root`` is the folder of downloaded files ($TRANSFER_HOME, else the user's cache folder), ``seed``
    draws ``random:<arch>``. Warns (UserWarning) when the licence forbids commercial use and when a file was
    never trained.

    Raises:
        InputError: the weights cannot be used, or are not finite.
    """
    name = os.fspath(name)
    backbone = _load(name, root, seed)
    _assert_finite(name, backbone)
    if backbone.card.non_commercial:
        warnings.warn(f"{name}: its licence {backbone.card.licence} forbids commercial use", stacklevel=2)
    if not name.startswith("random:") and _is_untrained(backbone):
        warnings.warn(f"{name} was never trained: every BatchNorm has mean 0 and variance 1", stacklevel=2)
    return backbone


def _load(name: str, root: published.Root, seed: int) -> Backbone:
    if published.is_published(name):
        return published.load(name, root)
    if name.startswith("random:"):
        from . import untrained

        return untrained.load(name.removeprefix("random:"), seed)
    if local.is_path(name):
        return local.load(name)
    raise InputError(f"unknown backbone {name!r}; {near(name, [*names(), *FORMS])}")


def _assert_finite(name: str, backbone: Backbone) -> None:
    for key, value in backbone.state_dict.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            count = int((~value.isfinite()).sum())
            raise InputError(
                f"{name}: {key} has {count} of {value.numel()} values that are nan or infinite; was its training "
                "broken off too late? Give an earlier checkpoint"
            )


def _is_untrained(backbone: Backbone) -> bool:
    from .convert import is_untrained

    return is_untrained(backbone.state_dict)
