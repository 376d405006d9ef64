"""What the metadata of a sparse file say: one row per tensor, and a checksum of the header itself."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

VERSION = "1"
VERSION_KEY, ROWS_KEY, CRC_KEY = "sparse_version", "sparse_tensors", "sparse_crc32"
KEYS = (VERSION_KEY, ROWS_KEY, CRC_KEY)
UNKNOWN = "0" * 8  # in the place of a checksum that is not computed yet

Dtype = Literal[
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
]  # fmt: skip
Count = Annotated[int, Field(ge=0)]
DTYPES: tuple[str, ...] = get_args(Dtype)
_STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Dense:
    """A tensor that lies under its own name as any .safetensors file has it; loaded as ``dtype``."""

    dtype: Dtype
    crc32: Count


@dataclass(frozen=True, config=_STRICT)
class Sparse:
    """A tensor whose ``kept`` values, of dtype ``stored``, and their places are two entries; the rest is +0.0."""

    dtype: Dtype
    crc32: Count
    shape: Annotated[list[Count], Field(max_length=64)]
    kept: Count
    stored: Dtype
    places: Literal["bits", "gaps"]
    values: Literal["raw", "split"]


Row = Dense | Sparse
Rows = Mapping[str, Row]
_ROWS: TypeAdapter[dict[str, Row]] = TypeAdapter(dict[str, Row])


def to_text(rows: Rows) -> str:
    """Return the rows as JSON."""
    return _ROWS.dump_json(dict(rows)).decode()


def from_text(text: str) -> Rows:
    """Return the rows of JSON from anyone.

    Raises:
        ValueError: it is not what ``to_text`` writes.
    """
    try:
        return _ROWS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"row {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def entries(name: str) -> tuple[str, str]:
    """Return the names of the two entries of a sparse tensor: its places and its values."""
    return f"places:{name}", f"values:{name}"


def header_crc(header: bytes, stated: str) -> str:
    """Return the CRC-32 of a header's text, with eight zeros in the place of the checksum that it states."""
    return f"{zlib.crc32(header.replace(_field(stated), _field(UNKNOWN))):08x}"


def signed(content: bytes) -> bytes:
    """Return a file whose metadata state the header's checksum, from one whose metadata state ``UNKNOWN``."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = content[8:end]
    crc = header_crc(header, UNKNOWN)
    return content[:8] + header.replace(_field(UNKNOWN), _field(crc)) + content[end:]


def _field(crc: str) -> bytes:
    """Return the checksum's field as it stands in the header; no string in it can look like this, for the quotes."""
    return f'"{CRC_KEY}":"{crc}"'.encode()
