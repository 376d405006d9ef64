"""transfer export: a file per form that gives the run's outputs, one line about it, and one line for bad input."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import checkpoints
import transfer
from tests.conftest import Outcome
from tests.export.finished import finished
from tests.export.networks import NETWORKS, prune
from transfer.errors import RunError
from transfer.export import forms
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs import predictor
from transfer.runs.export_run import export_run

Command = Callable[..., Outcome]
FORMS = [("sparse",), ("compact",), ("onnx",), ("pt2",), ("onnx", "--compact"), ("pt2", "--fixed-size")]
OFTEN = [("classification", words) for words in FORMS[:5]] + [("segmentation", ("pt2",))]  # the others are large


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("made") / "run", "resnet20", size=24, sparsity=0.9)


def test_a_sparse_file_holds_the_very_weights(run: Path, tmp_path: Path, command: Command) -> None:
    code, out, error = command("export", str(run), "--to", "sparse", "--best", "--out", str(tmp_path / "a.safetensors"))
    assert (code, error) == (0, "")
    assert out.startswith(f"{tmp_path / 'a.safetensors'}\t")
    assert out.count("\n") == 1
    wanted = predictor.load(run, which="best").model.state_dict()
    found = transfer.load_sparse(tmp_path / "a.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in found)
    again = command("export", str(run), "--to", "sparse", "--out", str(tmp_path / "a.safetensors"))
    assert again == (2, "", f"error: {tmp_path / 'a.safetensors'} exists; remove it or choose another --out\n")
    assert (tmp_path / "a.safetensors").stat().st_size < 0.3 * (run / "best.safetensors").stat().st_size


@pytest.mark.slow
def test_a_compact_network_and_what_it_saves(run: Path, command: Command) -> None:
    code, out, error = command("export", str(run), "--to", "compact")
    assert (code, error) == (0, "")
    assert "multiply-adds" in out
    assert "total" in out
    line = out.splitlines()[-1]
    assert line.startswith(f"{run / 'compact.pt2'}\t")
    assert "takes sides of" in line
    assert not [path for path in run.iterdir() if path.name.startswith(".compact")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--to", "onxx"), "unknown form 'onxx'; did you mean onnx?"),
        (("--to", "pt2", "--out", "model.pt"), "out is model.pt; give a name that ends in .pt2"),
        (("--to", "onnx", "--out", "model.pt2"), "give a name that ends in .onnx"),
        (("--to", "sparse", "--compact"), "--to sparse writes weights, not a network"),
        (("--to", "pt2", "--compact"), "--to pt2 writes the network as it is; the smaller one is --to compact"),
        (("--to", "sparse", "--fixed-size"), "--compact and --fixed-size are for the other forms"),
        ((), "--to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_words_are_one_line(run: Path, command: Command, words: tuple[str, ...], says: str) -> None:
    pytest.importorskip("onnxruntime")
    before = sorted(run.iterdir())
    code, out, error = command("export", str(run), *words)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert says in error
    assert sorted(run.iterdir()) == before


def test_folders_that_hold_no_finished_run_are_one_line(run: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.json").write_text("{}")
    for folder, says in (
        (tmp_path / "begun", "is not finished; give the command that began it again"),
        (tmp_path, f"is {tmp_path} the folder of a run?"),
        (run / "model.json", "the folder of a run?"),
    ):
        code, out, error = command("export", str(folder), "--to", "pt2")
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert says in error
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_a_folder_that_cannot_be_written_is_one_line(run: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "file").write_text("")
    code, _, error = command("export", str(run), "--to", "sparse", "--out", str(tmp_path / "file" / "a.safetensors"))
    assert (code, error.count("\n")) == (2, 1)
    assert "cannot write" in error


def test_a_file_with_other_outputs_is_not_left_behind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(path: Path, model: nn.Module) -> forms.Run:
        return lambda images: model(images) * 1.001

    wrong = dataclasses.replace(forms.FORMS["sparse"], read=spoiled)
    monkeypatch.setitem(forms.FORMS, "sparse", wrong)
    with pytest.raises(RunError, match=r"the file's outputs differ from the model's by 1\.0e-03 of the largest"):
        export_run(run, "sparse", out=tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_error_of_an_exporter_names_the_form(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        try:
            raise KeyError("no such operator\nand so on")
        except KeyError as error:
            raise AssertionError("step 2 of 3") from error

    monkeypatch.setitem(forms.FORMS, "sparse", dataclasses.replace(forms.FORMS["sparse"], write=fails))
    with pytest.raises(RunError, match=r"^the model cannot be written as sparse \(KeyError: .*no such operator"):
        export_run(run, "sparse", out=tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [lambda y: y * torch.nan, lambda y: y[:, :1], lambda y: y.bad])
def test_a_program_that_is_wrong_at_other_sizes_is_made_for_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    def read(path: Path, model: nn.Module) -> forms.Run:
        return lambda images: model(images) if images.shape[2] == 24 else spoil(model(images))

    monkeypatch.setitem(forms.FORMS, "pt2", dataclasses.replace(forms.FORMS["pt2"], read=read))
    assert export_run(run, "pt2", out=tmp_path / "model.pt2").sides == "sides of 24 px"


@pytest.mark.slow
def test_an_operation_that_onnx_lacks_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bessel(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(super().forward(x))

    pytest.importorskip("onnxruntime")
    other = dataclasses.replace(predictor.load(run), model=Bessel(3, 4, 3).eval())
    monkeypatch.setattr(predictor, "load", lambda *args, **kwargs: other)
    with pytest.raises(RunError, match=r"^the model cannot be written as onnx \(.*bessel_j0"):
        export_run(run, "onnx", out=tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_network_that_compact_does_not_know_names_the_module(tmp_path: Path, command: Command) -> None:
    made = finished(tmp_path / "run", "test_vit", size=160)
    code, out, error = command("export", str(made), "--to", "compact", "--fixed-size")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("error: compact does not know aten.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "words"),
    [
        pytest.param(
            task, words, id=" ".join((task, *words)), marks=[] if (task, words) in OFTEN else pytest.mark.large
        )
        for task in ("classification", "segmentation")
        for words in FORMS
    ],
)
def test_every_form_of_a_real_run(task: str, words: tuple[str, ...], tmp_path: Path, command: Command) -> None:
    pytest.importorskip("onnxruntime")
    data = Data(size=32) if task == "classification" else Data(name="voc-sample", size=64)
    few = {} if task == "classification" else {"images": 8}
    recipe = Recipe(
        "export", backbone="embedded", output_stride=4 if task == "segmentation" else 16, data=data,
        prune=Prune(method="magnitude", sparsity=0.8, rounds=1, **few),
        train=Train(epochs=0, precision="no", batch=8),
    )  # fmt: skip
    folder = transfer.run(recipe, out=tmp_path).folder
    code, out, error = command("export", str(folder), "--to", *words)
    assert (code, error) == (0, "")
    path = Path(out.splitlines()[-1].partition("\t")[0])
    assert path.parent == folder
    model = predictor.load(folder).model
    images = torch.randn(2, 3, data.size, data.size)
    with torch.no_grad():
        (found,) = torch.utils._pytree.tree_leaves(forms.find(words[0]).read(path, model)(images))
        torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_an_onnx_file_that_errs_at_other_sizes_is_made_for_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's exporter takes adaptive pooling to 2 × 2 for that of the traced size."""
    pytest.importorskip("onnxruntime")
    other = dataclasses.replace(predictor.load(run), model=prune(NETWORKS["chain"](), 0.8, 0).float())
    monkeypatch.setattr(predictor, "load", lambda *args, **kwargs: other)
    made = export_run(run, "onnx", out=tmp_path / "model.onnx")
    assert made.sides == "sides of 24 px"
    assert export_run(run, "pt2", out=tmp_path / "model.pt2").sides == "sides of 4 or more px"


@pytest.mark.slow
def test_an_onnx_file_says_how_to_prepare_images(run: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made = export_run(run, "onnx", out=tmp_path / "model.onnx")
    facts = onnxruntime.InferenceSession(str(made.path)).get_modelmeta().custom_metadata_map
    about = json.loads((run / "model.json").read_text())
    assert {key: json.loads(facts[key]) for key in ("mean", "std", "classes", "image_size")} == {
        key: about[key] for key in ("mean", "std", "classes", "image_size")
    }
    assert facts["sides"] == made.sides
    assert facts["input"].startswith("float32 (N, 3, H, W)")


def test_backbones_are_read_from_a_sparse_file_too(run: Path, tmp_path: Path) -> None:
    """The run's ``result.json`` has no card, as those of earlier versions."""
    made = export_run(run, "sparse", out=tmp_path / "a.safetensors")
    read = checkpoints.load(str(made.path))
    assert (read.arch, read.mean, read.card.licence) == ("resnet20", (0.5, 0.4, 0.3), "Apache-2.0")


def test_the_terms_of_a_backbone_go_with_its_file(run: Path, tmp_path: Path) -> None:
    terms = {"licence": "CC-BY-NC-4.0", "paper": "arXiv:1", "url": "https://x", "non_commercial": True, "notes": "n"}
    card = {"name": "made", "sha256": "0" * 64, **terms}
    before = (run / "result.json").read_text()
    (run / "result.json").write_text(json.dumps(json.loads(before) | {"card": card}))
    try:
        made = export_run(run, "sparse", out=tmp_path / "a.safetensors")
    finally:
        (run / "result.json").write_text(before)
    with pytest.warns(UserWarning, match="its licence CC-BY-NC-4.0 forbids commercial use"):
        read = checkpoints.load(str(made.path)).card
    assert {name: getattr(read, name) for name in terms} == terms
    assert read.name == "made"
    assert read.sha256 not in (None, card["sha256"])
