"""Weights in a file of the user's: ``path@arch``, or a path alone when ``save`` wrote it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .backbone import PREPARATION, Backbone, Card, preparation
from .errors import InputError

SUFFIXES = (".safetensors", ".pth", ".tar", ".pt", ".bin", ".ckpt")


def is_path(name: str) -> bool:
    """Say whether a name reads as a path, with or without ``@arch``."""
    path = _split(name)[0]
    return "@" in name or os.sep in name or path.suffix in SUFFIXES or path.exists()


def load(name: str) -> Backbone:
    """Read ``path@arch`` (.safetensors, .pth, .pth.tar, .pt, .bin), or a file of ``save`` by its path.

    Images are prepared as the file's metadata say, else as timm has it for the architecture. Raises
    InputError for what ``read`` and ``to_trunk`` refuse, for an unknown architecture, and when none is
    given.
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
    ``timm.create_model(arch, num_classes=0, checkpoint_path=path)``. Raises InputError for another suffix and
    when the folder cannot be written.
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
        return preparation({name: json.loads(metadata[name]) for name in PREPARATION if name in metadata})
    except json.JSONDecodeError as error:
        raise InputError(f"{path} has damaged metadata ({error}); save it again") from None


def _card(path: Path, metadata: dict[str, str], sha256: str) -> Card:
    """Return the card that ``save`` wrote, so that a licence goes with its weights, or a bare one."""
    try:
        stated = json.loads(metadata.get("card", "{}"))
        return Card(**({"name": path.name} | stated | {"sha256": sha256}))
    except (json.JSONDecodeError, TypeError) as error:
        raise InputError(f"{path} has damaged metadata ({error}); save it again") from None
