"""Diagrams drawn when the site is built: the theme would load mermaid from another server in the reader's browser."""

import hashlib
import re
from pathlib import PurePosixPath

import mermaidx
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.S | re.M)
THEMES = {"light": "default", "dark": "dark"}  # the site's schemes, mermaid's themes


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put pictures in the place of the diagrams, one for each scheme of colours."""

    def pictures(block: re.Match[str]) -> str:
        names = {scheme: drawn(block[1], scheme, page, config, files) for scheme in THEMES}
        return "\n".join(f"![Diagram]({name}#only-{scheme}){{ .diagram }}" for scheme, name in names.items())

    return DIAGRAM.sub(pictures, markdown)


def drawn(diagram: str, scheme: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Add the picture of a diagram to the site, beside its page, and return its name."""
    name = f"{page.file.name}-{hashlib.sha256(diagram.encode()).hexdigest()[:8]}-{scheme}.svg"
    picture = mermaidx.render(diagram, theme=THEMES[scheme]).svg()
    files.append(File.generated(config, str(PurePosixPath(page.file.src_uri).with_name(name)), content=picture))
    return name
