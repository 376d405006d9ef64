"""Write the offline sample: digits on photographs, in the exact layout of Pascal VOC.

    python scripts/make_voc_sample.py OUT      # seconds; then use it as the data set voc-folder:OUT

240 images for training, 80 for validation, 64 to 104 px; background and ten classes. The data set "voc-sample" is the
same, kept in the user's cache folder.
"""

import argparse
from pathlib import Path

from checkpoints.errors import InputError
from transfer.data.sources import voc_sample


def main() -> None:
    """Parse the folder, write the sample there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="a new or empty folder")
    out = parser.parse_args().out
    try:
        voc_sample.write(out)
    except (InputError, OSError) as error:
        parser.exit(2, f"{error}\n")
    print(f"{out}: {', '.join(f'{count} {split}' for split, count in voc_sample.COUNTS.items())} images")


if __name__ == "__main__":
    main()
