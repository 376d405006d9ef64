"""The README's Python works as it stands (with smaller images, fewer rounds and epochs)."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_python_of_the_readme(tmp_path, monkeypatch, capsys):
    code = re.search(r"## From Python\n\n```python\n(.*?)```", README.read_text(), re.S).group(1)
    shorter = code.replace("rounds=20", "rounds=2").replace("epochs=3", "epochs=1").replace("size=32", "size=12")
    assert shorter != code
    monkeypatch.chdir(tmp_path)
    exec(compile(shorter, str(README), "exec"), {})
    assert "27,090 of 270,896 weights kept" in capsys.readouterr().out
    assert (tmp_path / "masks.safetensors").exists()


def test_every_file_that_the_readme_links_to_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert links
    assert all((README.parent / link).exists() for link in links if "://" not in link)
