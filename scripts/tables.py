"""Write the tables of README and docs from the files in benchmarks/, or check that they agree.

    python scripts/tables.py            # half a minute
    python scripts/tables.py --check    # exit code 1 if a table differs; one line names each

A page says which command prints a table, in a comment before it; the table ends at the next such comment:

    <!-- table: scripts/bench_payoff.py --table benchmarks/payoff.jsonl -->
    ...
    <!-- end of table -->

Figures in sentences are checked by tests/docs/test_sentences.py, pictures by scripts/pictures.py.
"""

import argparse
import contextlib
import io
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

from checkpoints.files import write_whole

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"(<!-- table: (scripts/\w+\.py[^\n]*?) -->\n).*?(<!-- end of table -->\n)", re.S)
OPENING = "<!-- table:"


def main() -> None:
    """Rewrite or check every page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a table differs")
    check = parser.parse_args().check
    different = 0
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text()
        made = TABLE.sub(lambda found: found[1] + "\n" + printed(found[2]) + "\n" + found[3], text)
        if len(TABLE.findall(text)) != text.count(OPENING):
            parser.exit(2, f"{path.relative_to(ROOT)} has a table without a script or an end; see --help\n")
        if made != text:
            different += 1
            print(f"{path.relative_to(ROOT)} {'differs from' if check else 'written from'} benchmarks/")
            if not check:
                write_whole(path, made)
    sys.exit(bool(different and check))


def printed(command: str) -> str:
    """Return what a script of this folder prints; all run in this process, which imports what they need once."""
    script, *words = shlex.split(command)
    shown, argv, place = io.StringIO(), list(sys.argv), Path.cwd()
    sys.argv = [script, *words]
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as left:
        if left.code:
            raise SystemExit(f"{command} failed with exit code {left.code}") from None
    finally:
        sys.argv = argv
        os.chdir(place)
    return shown.getvalue()


if __name__ == "__main__":
    main()
