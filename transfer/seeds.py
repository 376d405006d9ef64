"""Seeds of data and training: a random draw has a key that says what it is for, and the seed is a hash of the key."""

import hashlib


def seed_of(*key: int | str) -> int:
    """Return a seed of 56 bits: equal keys give equal seeds, unequal keys independent ones."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=7).digest(), "big")
