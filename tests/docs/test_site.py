"""The site of the docs: its links, its reference, and that it loads nothing from elsewhere. CI builds it all."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import checkpoints
import transfer

pytest.importorskip("mkdocs", reason="the site needs pip install -e '.[docs]'")
pytest.importorskip("griffe")

from scripts.pages import offline, reference, reports, repository, roles

ROOT = repository.ROOT


def linked(src_uri: str, markdown: str) -> str:
    page: Any = SimpleNamespace(file=SimpleNamespace(src_uri=src_uri))
    return repository.on_page_markdown(markdown, page)


@pytest.mark.parametrize(
    ("page", "link", "leads_to"),
    [
        ("index.md", "docs/methods.md#what-came-of-it", "methods.md#what-came-of-it"),
        ("index.md", "docs/methods.png", "methods.png"),
        ("index.md", "docs/notebook/start.ipynb", "notebook/start.md"),
        ("index.md", "benchmarks/README.md", "source/benchmarks/README.md"),
        ("index.md", "benchmarks", "source/benchmarks/README.md"),
        ("payoff.md", "../benchmarks/payoff.jsonl", "source/benchmarks/payoff.jsonl.md"),
        ("payoff.md", "../README.md", "index.md"),
        ("payoff.md", "export.md#compact", "export.md#compact"),
        ("notebook/start.md", "../methods.md", "../methods.md"),
        ("source/benchmarks/README.md", "../docs/methods.md", "../../methods.md"),
        ("methods.md", "#which-batchnorm-a-score-sees", "#which-batchnorm-a-score-sees"),
        ("methods.md", "no_such_page.md", "no_such_page.md"),
        ("methods.md", "../../outside.md", "../../outside.md"),
        ("methods.md", "https://example.org/methods.md", "https://example.org/methods.md"),
    ],
)
def test_links_lead_to_pages_of_the_site(page: str, link: str, leads_to: str) -> None:
    assert linked(page, f"a [page]({link}), and (no link)") == f"a [page]({leads_to}), and (no link)"


def test_every_page_knows_the_file_that_it_shows() -> None:
    files = {target for page in pages() for target in repository.linked(page)}
    assert ROOT / "benchmarks" / "payoff.jsonl" in files
    assert all(repository.origin(repository.uri(file)) == written(file) for file in files)


def pages() -> list[Any]:
    """Return the first page and those of docs/, with what mkdocs knows of them."""
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    return [SimpleNamespace(src_uri=repository.uri(file), content_string=file.read_text()) for file in files]


def written(file: Path) -> Path:
    """Return what ``origin`` can know of a file: a page of code or of a notebook carries its name with .md."""
    if file.suffix == ".ipynb":
        return file.with_suffix(".md")
    return file if file.is_relative_to(ROOT / "docs") or file.suffix == ".md" else Path(f"{file}.md")


def test_the_reference_has_every_public_name() -> None:
    shown = reference.of_transfer() + reference.of_settings()
    names = [name for name in transfer.__all__ if name not in ("__version__", "data", "pruning", "tasks")]
    assert not [name for name in names if f".{name}\n" not in shown]
    assert not [name for name in transfer.pruning.__all__ if f".{name}\n" not in shown]
    assert not [name for name in checkpoints.__all__ if f".{name}\n" not in reference.of_checkpoints() + shown]
    assert all(name in headings(reference.of_methods()) for name in transfer.pruning.methods())


def headings(page: str) -> Iterator[str]:
    for line in page.splitlines():
        if line.strip().startswith("heading:"):
            yield from line.partition(":")[2].strip().split(", ")


def test_references_in_docstrings_are_shown_as_code() -> None:
    text = SimpleNamespace(value="See :func:`transfer.prune` and :class:`Masks`; 1:2 stays.")
    roles.Roles().on_object(obj=SimpleNamespace(docstring=text))  # type: ignore[arg-type]
    assert text.value == "See `transfer.prune` and `Masks`; 1:2 stays."


@pytest.mark.parametrize(
    ("html", "loads"),
    [
        ('<script src="https://unpkg.com/x.js"></script>', ["https://unpkg.com/x.js"]),
        ("<img alt=a src=//example.org/a.png>", ["//example.org/a.png"]),
        ('<link rel="stylesheet" href="https://example.org/a.css">', ["https://example.org/a.css"]),
        ('<pre class="mermaid"><code>', ['class="mermaid"']),
        ('<a href="https://example.org">read</a><script src="../a.js"></script><link href="a.css">', []),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(html: str, loads: list[str]) -> None:
    assert offline.elsewhere(html) == loads


def test_a_comment_becomes_a_link_to_the_report_of_a_zip() -> None:
    page: Any = SimpleNamespace(file=SimpleNamespace(src_uri="results.md"))
    found = reports.on_page_markdown("Before.\n\n<!-- report: digits.zip -->\n", page, None, None)
    assert found == "Before.\n\n[The report of all these runs](report-digits.html){ .md-button }\n"
