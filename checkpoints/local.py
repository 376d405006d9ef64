"""Weights in the user's own file: ``path@arch``, or only a path when ``save`` wrote the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .backbone import PREPARATION, Backbone, Card, preparation
from .errors import InputError

LARGEST = 1e6  # of a number in the metadata: images are scaled to [0, 1] and have some hundred pixels a side
SUFFIXES = (".safetensors", ".pth", ".tar", ".pt", ".bin", ".ckpt")


def is_path(name: str) -> bool:
    """Return whether a name is a path, with or without ``@arch``."""
    path = _split(name)[0]
    return "@" in name or os.sep in name or path.suffix in SUFFIXES or path.exists()


def load(name: str) -> Backbone:
    """Read ``path@arch`` (.safetensors, .pth, .pth.tar, .pt, .bin), or a file of ``save`` by its path.

    Images are prepared as the file's metadata say, else as timm states for the architecture.

    Raises:
        InputError: ``read`` or ``to_trunk`` refuses the file, or the architecture is unknown or not given.
    """
    from .convert import to_trunk
    from .fetch import digests
    from .trunk import trunk
    from .weights_file import read

    path, arch = _split(name)
    weights, metadata = read(path)
    shape = trunk(_arch(path, arch, metadata.get("arch")))
    state_dict = to_trunk(weights, shape, str(path))
    prepared = shape.preparation | _preparation(path, metadata)
    card = _card(path, metadata, digests(path)["sha256"])
    return Backbone(arch=shape.arch, state_dict=state_dict, card=card, **prepared)


def save(backbone: Backbone, path: str | os.PathLike[str], **extra: str) -> Path:
    """Write a backbone as .safetensors, whole or not at all, and return the path.

    The metadata are strings: arch, mean, std, interpolation, input_size, card (JSON), and ``extra``. The same
    backbone gives the same bytes. ``load(path)`` reads it, and so does
    ``timm.create_model(arch, num_classes=0, checkpoint_path=path)``.

    Raises:
        InputError: the name has another suffix, or the folder cannot be written.
    """
    from .weights_file import write

    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"cannot save a backbone as {path.name}; the name must end in .safetensors")
    described = {name: json.dumps(getattr(backbone, name)) for name in PREPARATION}
    metadata = extra | {"arch": backbone.arch, "card": json.dumps(asdict(backbone.card))} | described
    write(path, backbone.state_dict, metadata)
    return path


def _split(name: str) -> tuple[Path, str | None]:
    whole = Path(name).expanduser()
    if "@" not in whole.name or whole.exists():
        return whole, None
    path, _, arch = name.rpartition("@")
    return Path(path).expanduser(), arch


def _arch(path: Path, asked: str | None, stated: str | None) -> str:
    arch = asked or stated
    if arch is None:
        raise InputError(f"{path} does not say its architecture; write {path}@<arch>, e.g. {path}@resnet50")
    return arch


def _preparation(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Read what ``save`` wrote; other files have none of it."""
    try:
        stated = preparation({name: json.loads(metadata[name]) for name in PREPARATION if name in metadata})
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} has damaged metadata ({error}); save it again") from None
    for name, value in stated.items():
        if not SENSIBLE[name](value):
            raise InputError(f"{path} has damaged metadata ({name} is {metadata[name]}); save it again")
    return stated


def _three(kinds: tuple[type, ...], *, above: float) -> Callable[[Any], bool]:
    def sensible(value: Any) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) == 3
            and all(type(number) in kinds and above < number < LARGEST for number in value)
        )

    return sensible


SENSIBLE: dict[str, Callable[[Any], bool]] = {
    "mean": _three((int, float), above=-LARGEST),
    "std": _three((int, float), above=0),
    "interpolation": lambda value: isinstance(value, str),
    "input_size": _three((int,), above=0),
}


def _card(path: Path, metadata: dict[str, str], sha256: str) -> Card:
    """Return the card that ``save`` wrote, so that a licence goes with its weights, or a bare one."""
    try:
        stated = json.loads(metadata.get("card", "{}"))
        card = Card(**({"name": path.name} | stated | {"sha256": sha256}))
    except (ValueError, RecursionError, TypeError) as error:
        raise InputError(f"{path} has damaged metadata ({error}); save it again") from None
    optional = (card.licence, card.paper, card.url)
    texts = (card.name, card.notes, *(text for text in optional if text is not None))
    if not isinstance(card.non_commercial, bool) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path} has damaged metadata (card is {metadata.get('card')}); save it again")
    return card
