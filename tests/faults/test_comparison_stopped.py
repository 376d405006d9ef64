"""A comparison with two workers stopped by Ctrl-C, SIGTERM, SIGKILL: exit code, words, no process left; it goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = (
    sys.executable, "-m", "recipes.quickstart", "--backbone", "random:resnet20", "--data.size", "8",
    "--methods", "magnitude", "--sparsities", "0.5", "--train.epochs", "4", "--train.batch", "64",
    "--train.save-minutes", "0", "--train.precision", "no", "--out",
)  # fmt: skip
WORDS = {signal.SIGINT: (130, "stopped; a run goes on"), signal.SIGTERM: (143, ""), signal.SIGKILL: (-9, "")}


def until(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def group(number: int) -> list[str]:
    """Return the processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(of) == number and state != "Z":
            found.append(stat.parent.name)
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def compare(out: Path, workers: int) -> None:
    """Run the comparison to its end."""
    words = [*COMMAND, str(out), "--workers", str(workers)]
    subprocess.run(words, env=environment(), check=True, capture_output=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a comparison that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    compare(out, workers=1)
    return out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("sent", "every"),
    [
        pytest.param(signal.SIGINT, True, id="a terminal's Ctrl-C"),
        pytest.param(signal.SIGTERM, False, id="SIGTERM", marks=pytest.mark.large),
        pytest.param(signal.SIGKILL, False, id="SIGKILL", marks=pytest.mark.large),
    ],
)  # fmt: skip
def test_it_leaves_no_process_and_goes_on_to_the_same_bytes(
    sent: signal.Signals, every: bool, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    with subprocess.Popen(
        [*COMMAND, str(out), "--workers", "2"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        until(lambda: len(list(out.glob("*/state.pt"))) == 2 or process.poll() is not None)
        assert process.poll() is None
        (os.killpg if every else os.kill)(process.pid, sent)
        _, printed = process.communicate(timeout=300)  # ends when the last process that can write to it has
    code, words = WORDS[sent]
    assert process.returncode == code
    assert printed.startswith(words)
    assert printed.count("\n") == bool(words)
    until(lambda: not group(process.pid), 30)
    assert not list(out.glob("*/result.json"))
    compare(out, workers=2)
    names = [
        path.relative_to(out) for path in out.glob("*/*.json*") if path.stem in ("result", "metrics", "comparison")
    ]
    assert len(names) == 5
    for name in names:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
