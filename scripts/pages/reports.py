"""The report of each zip of runs in benchmarks/, made with every build; ``<!-- report: NAME.zip -->`` links to it."""

import re
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from transfer.runs.report_runs import report

HOME = Path(__file__).parents[2] / "benchmarks"
PLACE = re.compile(r"<!-- report: ([\w.-]+)\.zip -->")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a report for every zip."""
    for runs in sorted(HOME.glob("*.zip")):
        with tempfile.TemporaryDirectory() as folder:
            page = report([runs.relative_to(HOME.parent)], out=Path(folder)).files[0].read_text()
        files.append(File.generated(config, f"report-{runs.stem}.html", content=page))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put a link to a report in the place of its comment."""
    return PLACE.sub(r"[The report of all these runs](report-\1.html){ .md-button }", markdown)
