"""What a page loads must lie on the site: nothing is asked of another server."""

import logging
import re

from mkdocs.structure.pages import Page

LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\W?((?:https?:)?//[^\s\"'>]+)|"
                    r"<link\b[^>]*\bhref=\W?((?:https?:)?//[^\s\"'>]+)|(class=\"mermaid\")")  # fmt: skip
_log = logging.getLogger("mkdocs.hooks.offline")


def on_post_page(output: str, page: Page, **_: object) -> None:
    """Warn of every address that a browser would load with a page; the strict build ends there."""
    for address in elsewhere(output):
        _log.warning("%s loads %s from another server", page.file.src_uri, address)


def elsewhere(html: str) -> list[str]:
    """Return what a page loads from other servers; links that a reader may follow do not count.

    A diagram that is left to the theme counts: it loads mermaid.
    """
    return [next(filter(None, match.groups())) for match in LOADED.finditer(html)]
