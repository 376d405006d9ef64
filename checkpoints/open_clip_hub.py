"""``open_clip:<model>/<tag>``: the image tower of any CLIP ResNet that open_clip lists, on timm's graph.

The file is the one that open_clip itself would download, from the same place into the same cache, checked as every
other; without it there is no backbone, never a random one. The text tower is not built, and average pooling stands in
place of the attention pool.
"""

from __future__ import annotations

from typing import Any

import open_clip
import timm

from .catalog import Entry
from .errors import InputError, near
from .fetch import Source

PAPERS = {"openai": "Radford et al. 2021, arXiv:2103.00020"}  # by tag; the others are open_clip's own trainings
OPEN_CLIP = "Radford et al. 2021, arXiv:2103.00020; OpenCLIP, Ilharco et al. 2021, doi:10.5281/zenodo.5143773"
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # where open_clip names a repository only


def entry(asked: str) -> Entry:
    """Describe open_clip's weights ``model/tag``; nothing is downloaded.

    Raises:
        InputError: the name has no tag, open_clip does not have the model or the tag, or the model is no ResNet.
    """
    model, _, tag = asked.partition("/")
    vision = _vision(model)
    _assert_tag(model, tag)
    stated = open_clip.get_pretrained_cfg(model, tag)
    side = vision["image_size"]
    return Entry(
        name=f"open_clip:{model}/{tag}",
        arch=_arch(model),
        source=_source(model, tag, stated),
        mean=tuple(stated["mean"]),
        std=tuple(stated["std"]),
        interpolation=stated["interpolation"],
        input_size=(3, side, side),
        licence="MIT",
        paper=PAPERS.get(tag, OPEN_CLIP),
        notes=f"the image tower of open_clip's {model}, trained on {_data(tag)}; average pooling in place of its "
        "attention pool",
    )


def resnets() -> list[str]:
    """Return the ResNets of open_clip of which weights are published, as ``model/tag``."""
    return [f"{model}/{tag}" for model, tag in open_clip.list_pretrained() if timm.is_model(_arch(model))]


def _models() -> list[str]:
    return list(dict.fromkeys(name.partition("/")[0] for name in resnets()))


def _vision(model: str) -> dict[str, Any]:
    config = open_clip.get_model_config(model) if model in open_clip.list_models() else None
    if config is None:
        raise InputError(f"open_clip has no model {model!r}; {near(model, _models())}")
    vision = config["vision_cfg"]
    if not (isinstance(vision.get("layers"), list) and timm.is_model(_arch(model))):
        raise InputError(
            f"open_clip's {model} is no ResNet, which open_clip:<model>/<tag> is for; choose {', '.join(_models())}"
        )
    return vision


def _arch(model: str) -> str:
    """Return timm's name of RN50, RN101, RN50x4, …; QuickGELU is in the text tower only."""
    return f"resnet{model.removesuffix('-quickgelu').removeprefix('RN')}_clip_gap"


def _assert_tag(model: str, tag: str) -> None:
    known = open_clip.list_pretrained_tags_by_model(model)
    if tag not in known:
        got = f"has no weights {tag!r} of {model}" if tag else f"wants a tag, as open_clip:{model}/{known[0]}"
        raise InputError(f"open_clip {got}; {near(tag, known)}")


def _source(model: str, tag: str, stated: dict[str, Any]) -> Source:
    hub, _, file = stated.get("hf_hub", "").rpartition("/")
    if not hub:
        version = open_clip.__version__
        raise InputError(f"open_clip {version} names no repository of {model}/{tag}; pip install -U open_clip_torch")
    files = (file,) if file else FILES
    return Source(f"{hub.rpartition('/')[2]}.{files[0].rpartition('.')[2]}", hub=hub, hub_files=files)


def _data(tag: str) -> str:
    return "OpenAI's 400 million pairs of image and text" if tag == "openai" else tag.upper()
