r"""Notebooks as pages, with the outputs that are stored in them.

Outputs are stored so that a reader sees them without running anything, here and wherever the repository is shown. They
come from one run from top to bottom:

    jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
        docs/notebook/start.ipynb
"""

from pathlib import PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every notebook; the notebook stays beside it, to be downloaded."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        text, resources = MarkdownExporter(preprocessors=[CoalesceStreamsPreprocessor]).from_filename(
            str(notebook.abs_src_path)
        )
        name = PurePosixPath(notebook.src_uri)
        link = f"\n[Download this notebook]({name.name}){{ .md-button }}\n"
        files.append(File.generated(config, str(name.with_suffix(".md")), content=text + link))
        for picture, content in resources["outputs"].items():
            files.append(File.generated(config, str(name.with_name(picture)), content=content))
    return files
