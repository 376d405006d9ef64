"""A .safetensors file mapped into memory: its metadata, and a view of each entry, without the cost of a call each."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Container:
    """The parts of a file that safetensors finds sound: every entry lies within it, and none over another."""

    def __init__(self, path: Path):
        with safe_open(path, framework="pt"), path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # torch wants what could be written
        self._start = 8 + int.from_bytes(self._map[:8], "little")
        self.size = len(self._map)
        self.header = self._map[8 : self._start]
        self.entries = json.loads(self.header)
        self.metadata: dict[str, str] = self.entries.pop("__metadata__", {})

    def shapes(self) -> dict[str, list[int]]:
        """Return the shape of every entry."""
        return {name: entry["shape"] for name, entry in self.entries.items()}

    def content(self, name: str) -> memoryview:
        """Return an entry's bytes."""
        start, end = self.entries[name]["data_offsets"]
        return memoryview(self._map)[self._start + start : self._start + end]

    def tensor(self, name: str) -> Tensor:
        """Return an entry as a tensor that ends with the container: clone it."""
        content, dtype = self.content(name), DTYPES[self.entries[name]["dtype"]]
        shape = self.entries[name]["shape"]
        return torch.frombuffer(content, dtype=dtype).view(shape) if content else torch.empty(shape, dtype=dtype)
