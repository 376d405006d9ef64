import subprocess
import sys

import pytest

from checkpoints.errors import InputError
from transfer.data.augment import Augment


@pytest.mark.parametrize("module", ["transfer.data", "transfer.data.augment"])
def test_importing_it_does_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pad_crop": -1}, "pad_crop must be 0"),
        ({"resized_crop": (0, 1)}, "resized_crop must be two areas"),
        ({"resized_crop": (0.5, 1.5)}, "resized_crop must be two areas"),
        ({"ratio": (2, 1)}, "ratio must be two numbers"),
        ({"pad_crop": 4, "resized_crop": (0.1, 1)}, "exclude each other"),
        ({"jitter": 1.5}, "jitter must be from 0"),
        ({"jitter": float("nan")}, "jitter must be from 0"),
        ({"grayscale": -0.1}, "grayscale must be from 0"),
    ],
)
def test_values_out_of_range_are_named(options, says):
    with pytest.raises(InputError, match=says):
        Augment(**options)
