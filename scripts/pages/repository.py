"""Pages of the site that are files of the repository: README.md as the first page, and every file that a page links to.

A page links to a file as GitHub expects it, relative to the page: ``../benchmarks/payoff.jsonl``. On the site such a
file is a page of its own, ``source/benchmarks/payoff.jsonl.md``, which shows its text; so no link leaves the site, and
none needs to know where the repository is published.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INDEX, SOURCE = "index.md", "source/"
LINK = re.compile(r"(?<=\]\()([^)\s#]+)((?:#[^)\s]*)?)(?=\))")
LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "sh", ".yml": "yaml", ".yaml": "yaml", ".json": "json"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the first page and the pages of linked files, also of those that only such a page links to."""
    files.append(File.generated(config, INDEX, content=(ROOT / "README.md").read_text()))
    waiting = list(files.documentation_pages())
    for page in waiting:
        for target in linked(page):
            if not target.is_relative_to(DOCS) and files.get_file_from_path(uri(target)) is None:
                waiting.append(shown(target, config))
                files.append(waiting[-1])
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let the links of a page lead to the pages of the site."""
    here, folder = page.file.src_uri, origin(page.file.src_uri).parent

    def on_the_site(link: re.Match[str]) -> str:
        target = found(folder, link[1])
        return os.path.relpath(uri(target), Path(here).parent) + link[2] if target else link[0]

    return LINK.sub(on_the_site, markdown)


def linked(page: File) -> Iterator[Path]:
    """Yield the files of the repository to which a page links."""
    for link in LINK.finditer(page.content_string):
        if target := found(origin(page.src_uri).parent, link[1]):
            yield target


def found(folder: Path, link: str) -> Path | None:
    """Return the file of the repository to which a relative link leads, a folder's README for a folder."""
    target = (folder / link).resolve()
    target = target / "README.md" if target.is_dir() else target
    return target if "://" not in link and target.is_file() and target.is_relative_to(ROOT) else None


def uri(path: Path) -> str:
    """Return under which name a file of the repository is on the site; a notebook is there as a page."""
    if path == ROOT / "README.md":
        return INDEX
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix().replace(".ipynb", ".md")
    return SOURCE + path.relative_to(ROOT).with_suffix(path.suffix.removesuffix(".md") + ".md").as_posix()


def origin(src_uri: str) -> Path:
    """Return the file of the repository that a page shows: the inverse of ``uri``."""
    if src_uri == INDEX:
        return ROOT / "README.md"
    return ROOT / src_uri.removeprefix(SOURCE) if src_uri.startswith(SOURCE) else DOCS / src_uri


def shown(path: Path, config: MkDocsConfig) -> File:
    """Return the page of a file: Markdown as it is, anything else as code; in no menu and not in the search."""
    text, name = path.read_text(), path.relative_to(ROOT).as_posix()
    if path.suffix != ".md":
        text = f"# {name}\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{text}\n````\n"
    content = f"---\nsearch:\n  exclude: true\n---\n\n{text}"
    return File.generated(config, uri(path), content=content, inclusion=InclusionLevel.NOT_IN_NAV)
