"""The README's Python works as it stands (smaller images, fewer rounds and epochs); the pages' links lead somewhere."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
PAGES = [README, *sorted(README.parent.glob("docs/*.md"))]


def test_the_python_of_the_readme(tmp_path, monkeypatch, capsys):
    code = re.search(r"## From Python\n\n```python\n(.*?)```", README.read_text(), re.S).group(1)
    shorter = code.replace("rounds=20", "rounds=2").replace("epochs=3", "epochs=1").replace("size=32", "size=12")
    assert shorter != code
    monkeypatch.chdir(tmp_path)
    exec(compile(shorter, str(README), "exec"), {})
    assert "27,090 of 270,896 weights kept" in capsys.readouterr().out
    assert (tmp_path / "masks.safetensors").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_and_headings_lead_somewhere(page):
    links = [link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", text(page)) if "://" not in link]
    assert links or page != README
    for path, _, heading in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not heading or heading in headings(target), f"{path}#{heading}"


def text(page):
    """Return a page without its code."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.S)


def headings(page):
    """Return the names that GitHub gives a page's headings."""
    lines = re.findall(r"^#+ (.+)$", text(page), re.M)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}
