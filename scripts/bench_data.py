"""Throughput of ``Batches`` and ``MaskBatches`` against a DataLoader with per-image transforms.

    python scripts/bench_data.py                     # under half a minute
    python scripts/bench_data.py --turns 15 --images 50000

Images of 32 px: both apply pad 4, crop 32, flip, scale and normalise to the same random images, in batches of 128.
The DataLoader decodes nothing (PIL images in memory) and has 2 persistent workers, which an untimed iteration starts.
All take turns in one run.

Prints one line of JSON per measurement: images_per_s (median over the turns) and ratio to the DataLoader; the goal
is a ratio of 10 or more. ``batches`` uses torch's default number of threads, ``batches-1-thread`` one. Check ``load``
too: if other programs keep the cores busy, the threads of each small operation wait for one another and ``batches``
may fall below the DataLoader; one thread (OMP_NUM_THREADS=1) suffers far less.

Images with masks: the training split of the offline sample (JPEG and PNG files, 64 to 104 px), decoded, scaled by
0.5 to 2, flipped, cropped to 96 px, padded and normalised, in batches of 8, in one process with one thread:
``segmentation`` is MaskBatches, ``segmentation-torchvision`` the transforms of torchvision's reference training for
segmentation, which scales relative to the mean shorter side of the split (``base``), not to each image.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import _bench
import PIL
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from transfer import data
from transfer.data.augment import Augment, MaskAugment
from transfer.data.dataset import Images, MaskDataset, MaskFiles
from transfer.data.image_batches import Batches
from transfer.data.mask_batches import MaskBatches

SIDE, BATCH, PAD, WORKERS = 32, 128, 4, 2
CROP, MAP_BATCH = 96, 8
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class PilImages(TorchDataset[Any]):
    """The common baseline: a PIL image and a pipeline of transforms per sample."""

    def __init__(self, images: Images) -> None:
        self.images, self.labels = images.pixels.permute(0, 2, 3, 1).numpy(), images.labels.tolist()
        self.transform = v2.Compose(
            [
                v2.ToImage(),
                v2.RandomCrop(SIDE, padding=PAD),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return one transformed image and its label."""
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class PilMaps(TorchDataset[Any]):
    """The common baseline for masks: a PIL image, a mask, and a pipeline of transforms for both."""

    def __init__(self, split: MaskFiles) -> None:
        self.split, base = split, mean_shorter_side(split)
        fill = {Image.Image: tuple(round(255 * value) for value in MEAN), tv_tensors.Mask: 255}
        self.transform = v2.Compose(
            [
                v2.RandomResize(round(base / 2), round(base * 2) + 1),
                v2.RandomHorizontalFlip(),
                v2.RandomCrop(CROP, pad_if_needed=True, fill=fill),
                v2.ToImage(),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one transformed image and its mask."""
        with Image.open(self.split.images[index]) as image, Image.open(self.split.masks[index]) as mask:
            labels = tv_tensors.Mask(v2.functional.pil_to_tensor(mask)[0])
            return self.transform(image.convert("RGB"), labels)


def mean_shorter_side(split: MaskFiles) -> float:
    """Return the mean of the shorter sides of a split's images, in pixels."""

    def shorter(path: Path) -> int:
        with Image.open(path) as image:
            return min(image.size)

    return statistics.mean(map(shorter, split.images))


def map_walks(split: MaskFiles) -> dict[str, tuple[int, Iterable[Any]]]:
    """Return the compared loaders of images with masks, as :func:`walks` does."""
    loader = DataLoader(PilMaps(split), MAP_BATCH, shuffle=True)
    batches = MaskBatches(split, crop=CROP, batch=MAP_BATCH, mean=MEAN, std=STD, augment=MaskAugment(), shuffle=True)
    return {"segmentation-torchvision": (1, loader), "segmentation": (1, batches)}


def walks(count: int) -> dict[str, tuple[int, Iterable[Any]]]:
    """Return the compared loaders of ``count`` random images by name, each with the threads of this process."""
    images, threads = _bench.noise(count, SIDE), torch.get_num_threads()
    loader = DataLoader(PilImages(images), BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    augment = Augment(pad_crop=PAD, flip=True)
    batches = Batches(images, size=SIDE, batch=BATCH, mean=MEAN, std=STD, augment=augment, shuffle=True)
    return {"dataloader": (threads, loader), "batches": (threads, batches), "batches-1-thread": (1, batches)}


def rate(threads: int, walk: Iterable[Any]) -> float:
    """Return the images per second of one iteration over ``walk`` with ``threads`` threads."""
    torch.set_num_threads(threads)
    begin = time.perf_counter()
    seen = sum(len(inputs) for inputs, _ in walk)
    return seen / (time.perf_counter() - begin)


def measure(compared: dict[str, tuple[int, Iterable[Any]]], turns: int) -> dict[str, list[float]]:
    """Time whole iterations in turn; the first of each, which starts the workers, does not count."""
    return _bench.in_turns({name: partial(rate, threads, walk) for name, (threads, walk) in compared.items()}, turns)


def model() -> str:
    """Return the processor's model name, else its architecture."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Parse the options, measure, print JSON lines."""
    parser = _bench.options(__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="images in the split (default 10000)")
    parser.add_argument("--turns", type=int, default=7, help="timed iterations of each (default 7)")
    options = parser.parse_args()
    if min(options.images, options.turns) < 1:
        parser.error("--images and --turns must be 1 or more")
    load = [_bench.load()]
    sample = data.load("voc-sample")
    assert isinstance(sample, MaskDataset)
    images, maps = walks(options.images), map_walks(sample.train)
    found = [measure(images, options.turns), measure(maps, options.turns)]
    load.append(_bench.load())
    settings = {"side": SIDE, "batch": BATCH, "pad": PAD, "flip": True, "workers": WORKERS, **vars(options)}
    map_settings = {"crop": CROP, "batch": MAP_BATCH, "scale": [0.5, 2], "flip": True, "workers": 0}
    map_settings |= {"images": len(sample.train), "turns": options.turns}
    map_settings |= {"base": round(mean_shorter_side(sample.train), 1)}
    versions = _bench.versions() | {"torchvision": torchvision.__version__, "pillow": PIL.__version__}
    cpu = {"model": model(), "cores": os.cpu_count(), "load": load}
    for rates, compared, used in zip(found, (images, maps), (settings, map_settings), strict=True):
        base = statistics.median(next(iter(rates.values())))
        for name, seen in rates.items():
            middle = statistics.median(seen)
            line = {"name": name, "images_per_s": round(middle), "ratio": round(middle / base, 2)}
            line |= {"threads": compared[name][0], "lowest": round(min(seen)), "highest": round(max(seen))}
            _bench.show(".2f", **line, settings=used, versions=versions, cpu=cpu)


if __name__ == "__main__":
    main()
