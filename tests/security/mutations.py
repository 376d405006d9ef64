"""Damage to the bytes of a file: the same seed does the same damage."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

# What readers stumble over: pickle opcodes, JSON of the wrong kind, numbers at the edges, terminal controls.
TOKENS = (
    b"\x80\x02", b"cos\nsystem\n", b"R", b"b", b"}", b"(", b"t", b".", b"0", b"2", b"h\x00", b"q\x00", b"K\xff",
    b"J\xff\xff\xff\xff", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f", b"Q", b"N", b"\x88",
    b"null", b"true", b"NaN", b"-1", b"0", b"1e999", b"9" * 30, b"9" * 5000, b'"a"', b'"\\ud800"', b"[]", b"{}",
    b"[" * 5000, b'{"a":' * 2000, b"[4294967296,4294967296]", b"2.0", b"[2.0]", b"-0", b"[-1,-4]", b"[[2]]",
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x1f\x8b", b"../../", b"\x1b[2J", b"\n", b"\x00", b"\xff" * 8,
    struct.pack("<Q", 1 << 62), struct.pack(">I", 0xFFFFFFFF), struct.pack("<I", 1 << 31),
)  # fmt: skip

# What stands where another value is expected in JSON.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 2**31, 2**32, 2**63, 2**64, 10**400, float("nan"), float("inf"), 1e308,
    "", "a", "\ud800", "a\nb\x1b[2J", "x" * 5000, "../..", "1", "px", "random:resnet50", [], [[]], [1], [0, 2**40],
    [2**32, 2**32], [-1, -36], [36.0], ["4"], [None], [0] * 70, {}, {"a": 1}, {"": {}},
    json.loads("[" * 300 + "]" * 300),
)  # fmt: skip


def mutate(content: bytes, source: random.Random) -> bytes:
    """Return the content with one to four changes, at least one of them real."""
    changed = bytearray(content)
    while changed == content:
        for _ in range(source.choice((1, 1, 1, 2, 4))):
            changed = source.choice(CHANGES)(changed, source)
    return bytes(changed)


def _at(content: bytearray, source: random.Random) -> int:
    """Choose a place; half of the time near the beginning or the end, where the structure is."""
    last = max(0, len(content) - 1)
    near = min(last, 200)
    return source.choice((source.randint(0, last), source.randint(0, last), source.randint(0, near),
                          last - source.randint(0, near)))  # fmt: skip


def _flip_bits(content: bytearray, source: random.Random) -> bytearray:
    for _ in range(source.choice((1, 1, 2, 8))):
        if content:
            content[_at(content, source)] ^= 1 << source.randrange(8)
    return content


def _set_bytes(content: bytearray, source: random.Random) -> bytearray:
    for _ in range(source.choice((1, 2, 4))):
        if content:
            content[_at(content, source)] = source.randrange(256)
    return content


def _truncate(content: bytearray, source: random.Random) -> bytearray:
    return content[: source.randint(0, len(content))]


def _remove(content: bytearray, source: random.Random) -> bytearray:
    start = _at(content, source)
    del content[start : start + source.choice((1, 2, 8, 64, 1024))]
    return content


def _zero_run(content: bytearray, source: random.Random) -> bytearray:
    start = _at(content, source)
    end = min(len(content), start + source.choice((1, 4, 32, 512)))
    content[start:end] = bytes(end - start)
    return content


def _insert(content: bytearray, source: random.Random) -> bytearray:
    start = _at(content, source)
    content[start:start] = source.randbytes(source.choice((1, 2, 8, 64)))
    return content


def _insert_token(content: bytearray, source: random.Random) -> bytearray:
    start = _at(content, source)
    content[start:start] = source.choice(TOKENS)
    return content


def _overwrite_token(content: bytearray, source: random.Random) -> bytearray:
    token, start = source.choice(TOKENS), _at(content, source)
    content[start : start + len(token)] = token
    return content


def _splice(content: bytearray, source: random.Random) -> bytearray:
    """Copy a piece of the file over, or into, another place."""
    start, size, to = _at(content, source), source.choice((1, 4, 16, 100)), _at(content, source)
    piece = content[start : start + size]
    content[to : to + source.choice((0, len(piece)))] = piece
    return content


def _replace_number(content: bytearray, source: random.Random) -> bytearray:
    """Put another number where digits stand, as in the JSON of a header."""
    digits = [i for i, byte in enumerate(content) if 48 <= byte <= 57]
    if digits:
        start = source.choice(digits)
        end = start
        while end < len(content) and 48 <= content[end] <= 57:
            end += 1
        content[start:end] = source.choice(
            (b"0", b"1", b"-1", b"7", b"65536", b"4294967296", b"9" * 19, b"1.5", b"null")
        )
    return content


CHANGES = (
    _flip_bits, _set_bytes, _truncate, _remove, _zero_run, _insert, _insert_token, _overwrite_token, _splice,
    _replace_number,
)  # fmt: skip


def mutate_values(content: bytes, source: random.Random) -> bytes:
    """Return JSON in which one to three values or keys are others; JSON in a string counts as JSON."""
    value = json.loads(content)
    for _ in range(source.choice((1, 1, 2, 3))):
        value = _other(value, source)
    return json.dumps(value).encode()


def _other(value: Any, source: random.Random) -> Any:
    inside = _json(value)
    if isinstance(inside, (dict, list)) and isinstance(value, str) and source.random() < 0.8:
        return json.dumps(_other(inside, source))
    if not isinstance(value, (dict, list)) or not value or source.random() < 0.1:
        return source.choice(ODD)
    changed = value.copy()
    key = source.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if source.random() < 0.1:
        del changed[key]
    elif isinstance(changed, dict) and source.random() < 0.05:
        changed[source.choice(("", "a\n\x1b[2J", "x" * 5000, "\ud800"))] = changed.pop(key)
    else:
        changed[key] = _other(value[key], source)
    return changed


def _json(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return None
