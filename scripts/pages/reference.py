"""The reference: one page per public package, made from the docstrings of the names that it exports.

Each entry is a ``:::`` line of mkdocstrings, which reads the source without running it.
"""

import importlib
import pkgutil

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import checkpoints
import recipes
import transfer
from transfer.pruning.saliency import _METHODS

SETTINGS = ("transfer.recipe.Recipe", "transfer.recipe.Data", "transfer.recipe.Prune", "transfer.recipe.Train")
AUGMENT = ("transfer.data.augment.Augment", "transfer.data.augment.MaskAugment")
ROOMS = ("transfer.data", "transfer.pruning", "transfer.tasks")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    pages = {"transfer": of_transfer(), "checkpoints": of_checkpoints(), "settings": of_settings()}
    for name, text in {**pages, "methods": of_methods(), "recipes": of_recipes()}.items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    return files


def of_transfer() -> str:
    """Return the page of what ``transfer`` exports, functions first; settings have a page of their own."""
    named = [name for name, home in transfer._HOMES.items() if f"{home}.{name}" not in SETTINGS]
    own = [entry(f"{transfer._HOMES[name]}.{name}", f"transfer.{name}") for name in sorted(named, key=str.swapcase)]
    rooms = [entry(f"{room}.{name}", f"{room}.{name}") for room in ROOMS for name in exported(room)]
    about = "What the package exports; [From Python](../python.md) says what stays the same between versions.\n"
    return page("transfer", about, [*own, *rooms])


def exported(room: str) -> list[str]:
    """Return what a room of ``transfer`` exports and ``transfer`` itself does not."""
    return [name for name in importlib.import_module(room).__all__ if name not in transfer.__all__]


def of_checkpoints() -> str:
    """Return the page of the names that ``checkpoints`` exports; errors are on the page of ``transfer``."""
    names = [name for name in checkpoints.__all__ if name != "InputError"]
    about = "Pretrained weights: from a name to a trunk under timm's keys.\n"
    return page("checkpoints", about, [entry(f"checkpoints.{name}", f"checkpoints.{name}") for name in names])


def of_settings() -> str:
    """Return the page of the settings of a run, which are also the flags of every recipe."""
    about = "What a run can be asked for. Every field is a flag of every recipe: `--train.epochs` is `Train.epochs`.\n"
    return page("Settings", about, [entry(path, path.rsplit(".", 1)[1]) for path in (*SETTINGS, *AUGMENT)])


def of_methods() -> str:
    """Return the page of the score functions, with the names under which each is used."""
    named: dict[str, list[str]] = {}
    for name, method in _METHODS.items():
        module, _, function = str(method.score).partition(":")
        named.setdefault(f"transfer.pruning.saliency.{module}.{function or 'score'}", []).append(name)
    about = "The functions behind the names in [Methods](../methods.md); all arguments but the first are options.\n"
    return page("Pruning methods", about, [entry(path, ", ".join(names)) for path, names in named.items()])


def of_recipes() -> str:
    """Return the page of the recipes: the head of each script."""
    names = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    about = "One script per downstream task, run as `python -m recipes.NAME`; `--help` lists the flags.\n"
    return page("Recipes", about, [entry(f"recipes.{name}", name, members="false") for name in names])


def entry(path: str, heading: str, **options: str) -> str:
    """Return the lines that let mkdocstrings show one object under a heading."""
    settings = {"heading": heading, "toc_label": heading, **options}
    return f"::: {path}\n    options:\n" + "".join(f"      {name}: {value}\n" for name, value in settings.items())


def page(title: str, about: str, entries: list[str]) -> str:
    """Return the text of a page."""
    return "\n".join([f"# {title}\n", about, *entries])
