"""``timm:<model.tag>``: any weights that timm knows, downloaded from where timm states."""

from __future__ import annotations

import re
from typing import Any

import timm

from . import architectures as _registered  # noqa: F401  (adds its names to timm's)
from .catalog import Entry
from .errors import InputError, near
from .fetch import Source


def entry(tagged: str) -> Entry:
    """Describe timm's weights ``model.tag``; without a tag, timm's default ones.

    Raises:
        InputError: timm does not know the name, or no weights of the model are published.
    """
    arch = tagged.partition(".")[0]
    settings = _settings(arch, tagged)
    name = f"{arch}.{settings.tag}" if settings.tag else arch
    return Entry(
        name=f"timm:{name}",
        arch=arch,
        source=_source(name, settings),
        mean=tuple(settings.mean),
        std=tuple(settings.std),
        interpolation=settings.interpolation,
        input_size=tuple(settings.input_size),
        licence=settings.license,
        paper=_paper(settings.paper_ids),
        non_commercial="-nc" in (settings.license or "").lower(),
        notes=settings.description or "",
    )


def _settings(arch: str, tagged: str) -> Any:
    if not timm.is_model(arch):
        raise InputError(f"timm has no model {arch!r}; {near(arch, timm.list_models())}")
    try:
        return timm.get_pretrained_cfg(tagged)
    except RuntimeError:
        known = timm.list_pretrained(f"{arch}.*")
        raise InputError(f"timm has no weights {tagged!r}; {near(tagged, known)}") from None


def _source(name: str, settings: Any) -> Source:
    if settings.hf_hub_id:
        files = (settings.hf_hub_filename,) if settings.hf_hub_filename else Source.hub_files
        suffix = files[0].rpartition(".")[2]
        return Source(f"{name}.{suffix}", hub=settings.hf_hub_id, hub_files=files)
    if not settings.url:
        arch = name.partition(".")[0]
        raise InputError(f"timm has no weights for {name!r}; use random:{arch}, or another tag")
    digits = re.search(r"-([0-9a-f]{8,64})\.", settings.url)  # PyTorch's convention for file names
    file = settings.url.rpartition("/")[2]
    return Source(file, url=settings.url, sha256=digits[1] if digits else "")


def _paper(ids: str | tuple[str, ...] | None) -> str | None:
    return ids if ids is None or isinstance(ids, str) else ", ".join(ids)
