"""``embedded``: a small trained backbone that ships with the package, so that everything runs offline."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backbone import PREPARATION, Backbone, Card, preparation
from .catalog import Entry
from .errors import InputError
from .fetch import Source, digests
from .files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

NAME = "embedded"
FOLDER = Path(str(files(__package__) / "embedded"))
WEIGHTS, CARD = "resnet20_fashion_mnist.safetensors", "card.json"
STATED = ("arch", "data", "licence", "accuracy", "command", "seed", *PREPARATION)


def entry() -> Entry:
    """Describe the embedded backbone from its card.

    Raises:
        InputError: this installation lacks it.
    """
    path = FOLDER / CARD
    if not (path.is_file() and (FOLDER / WEIGHTS).is_file()):
        raise InputError(f"this installation lacks {WEIGHTS} and {CARD} in {FOLDER}; run scripts/make_embedded.py")
    card = json.loads(path.read_text("utf-8"))
    return Entry(
        name=NAME,
        arch=card["arch"],
        source=Source(WEIGHTS, sha256=card["sha256"]),
        licence=card["licence"],
        paper=card.get("paper"),
        notes=f"trained on {card['data']}, test accuracy {card['accuracy']} %",
        **preparation(card),
    )


def write(state_dict: Mapping[str, Tensor], card: dict[str, Any], folder: str | os.PathLike[str] = FOLDER) -> Path:
    """Write trained weights and their card as the embedded backbone, and return the folder.

    ``card`` states arch, data, licence, accuracy (percent), command, seed, mean, std, interpolation,
    input_size, and anything else as JSON; sha256 is added. A head in ``state_dict`` is dropped.

    Raises:
        InputError: the card lacks one of these, or the weights do not fit.
    """
    from .convert import to_trunk
    from .local import save
    from .trunk import trunk

    lacking = [name for name in STATED if name not in card]
    if lacking:
        raise InputError(f"the card lacks {', '.join(lacking)}; it must state {', '.join(STATED)}")
    weights = to_trunk(state_dict, trunk(card["arch"]), "the trained model")
    about = Card(NAME, licence=card["licence"])
    backbone = Backbone(arch=card["arch"], state_dict=weights, card=about, **preparation(card))
    path = save(backbone, Path(folder) / WEIGHTS)
    text = json.dumps(card | {"sha256": digests(path)["sha256"]}, indent=2, ensure_ascii=False)
    write_whole(Path(folder) / CARD, f"{text}\n")
    return path.parent
