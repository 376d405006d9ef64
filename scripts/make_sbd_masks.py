"""Make the masks of the data set voc2012-aug from SBD, the Semantic Boundaries Dataset (Hariharan 2011).

    python scripts/make_sbd_masks.py benchmark.tgz data      # a few minutes

SBD is the archive as distributed (a .tgz of 1.4 GB), or its unpacked folder; VOC is VOC 2012, or the folder that holds
VOCdevkit/VOC2012. Writes into VOC 2012 the folder SegmentationClassAug and the list
ImageSets/Segmentation/trainaug.txt: SBD's train and val and VOC's train, without VOC's val, 10,582 images. Masks of
VOC's train are VOC's own, with their borders of 255; SBD's have none.
"""

import argparse
from pathlib import Path

from checkpoints.errors import InputError
from transfer.data.sources import sbd
from transfer.data.sources.voc2012_aug import SBD


def main() -> None:
    """Parse the two paths, write masks and list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f"SBD: {SBD.url}"
    )
    parser.add_argument("sbd", type=Path, metavar="SBD", help=f"{SBD.file}, or its unpacked folder")
    parser.add_argument("voc", type=Path, metavar="VOC", help="VOC2012, or the folder that holds VOCdevkit/VOC2012")
    options = parser.parse_args()
    try:
        made = sbd.write_masks(options.sbd, options.voc)
    except InputError as error:
        parser.exit(2, f"{error}\n")
    print(f"{made}: {sum(1 for _ in made.iterdir())} masks")


if __name__ == "__main__":
    main()
