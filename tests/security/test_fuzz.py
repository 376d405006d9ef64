"""Damaged files: each reader gives something sound, or one line of ours; nothing else comes out.

The short form reads 20 damaged files a reader, the long one (``-m slow``) 600: more than 10,000 together.
The same seed damages the same bytes, but for PyTorch's older format, which holds addresses of memory; what fails is
kept beside the others.
"""

from __future__ import annotations

import random
import traceback
from pathlib import Path

import pytest

from checkpoints.errors import InputError
from transfer.errors import RunError

from .readers import Reader, readers

SHORT, LONG = 20, 600

# Of damaged images, and of networks whose damaged statistics look untrained.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::RuntimeWarning")]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    return dict(readers(tmp_path_factory.mktemp("sound")))


def outcome(reader: Reader, path: Path) -> str:
    """Return "read", "refused", or how it failed."""
    try:
        reader.read(path)
    except (InputError, RunError) as error:
        line = str(error)
        return "refused" if line and line.isprintable() and len(line) <= 2000 else f"not one line: {line[:300]!r}"
    except Exception:
        return traceback.format_exc(limit=-4)
    return "read"


def fuzz(every: dict[str, Reader], folder: Path, count: int, seed: int) -> None:
    wrong: list[str] = []
    for name, reader in every.items():
        source, refused = random.Random(f"{name} {seed}"), 0
        for number in range(count):
            path = reader.write(folder, reader.damage(reader.sound, source))
            found = outcome(reader, path)
            refused += found == "refused"
            if found not in ("read", "refused"):
                kept = path.rename(folder / f"wrong {len(wrong)} {path.name}")
                wrong.append(f"{kept}: {name}, damaged file {number} of seed {seed}: {found}")
        print(f"{name}: {count} damaged files, {refused} refused")
    assert not wrong, f"{len(wrong)} of {count * len(every)}\n" + "\n".join(wrong[:20])


def test_the_sound_files_are_read(every: dict[str, Reader], tmp_path: Path) -> None:
    found = {name: outcome(reader, reader.write(tmp_path, reader.sound)) for name, reader in every.items()}
    assert found == dict.fromkeys(every, "read")


def test_damaged_files_are_read_or_refused(every: dict[str, Reader], tmp_path: Path) -> None:
    fuzz(every, tmp_path, SHORT, seed=0)


@pytest.mark.large
@pytest.mark.slow
def test_ten_thousand_damaged_files_are_read_or_refused(every: dict[str, Reader], tmp_path: Path) -> None:
    assert LONG * len(every) >= 10_000
    fuzz(every, tmp_path, LONG, seed=1)
