"""How large a run's weights are as a file, with their zeros and without."""

from __future__ import annotations

import tempfile
from pathlib import Path


def file_sizes(path: Path) -> tuple[int, int]:
    """Return the bytes of a file of weights, and of the sparse file of the same weights, without metadata.

    Raises:
        InputError: the file is damaged.
    """
    from checkpoints.sparse.write import save_sparse
    from checkpoints.weights_file import read

    tensors, _ = read(path)
    with tempfile.TemporaryDirectory(prefix="px-transfer-") as folder:
        return path.stat().st_size, save_sparse(tensors, Path(folder) / "sparse.safetensors").stat().st_size
