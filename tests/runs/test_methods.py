"""Every method through a recipe, imp and gmp too; allocation, options, recalibration; a stopped pruning goes on."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import InputError
from transfer import terminal
from transfer.pruning import Masks, gradual, methods, prunable, rounds
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs import run as runner
from transfer.runs.compare import compare
from transfer.training import imp as imp_module

pytestmark = pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning")
RECIPE = Recipe(
    name="tiny",
    data=Data(name="digits", size=8),
    prune=Prune(method="px", sparsity=0.8, rounds=2, per_class=2),
    train=Train(epochs=0, batch=128, lr=0.05, precision="no"),
)


def pruned(**changes) -> Recipe:
    return replace(RECIPE, prune=replace(RECIPE.prune, **changes))


def trained(recipe: Recipe, **changes) -> Recipe:
    return replace(recipe, train=replace(recipe.train, **changes))


QUICK = ("ntk-trace", "px", "snip", "magnitude")


@pytest.mark.parametrize("method", [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in methods()])
def test_every_method_runs_from_a_recipe(method, tmp_path):
    result = runner.run(pruned(method=method), out=tmp_path)
    assert result.metrics["kept"] == 270_896 - int(0.8 * 270_896 + 0.5)
    assert result.metrics["method"] == method
    with open(result.folder / "layers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == (
        "layer,total,kept,density,units,dead_units,disconnected,multiply_adds,multiply_adds_kept"
    )
    off = sum(int(row["disconnected"]) for row in rows)
    for key, column in (("dense", "multiply_adds"), ("kept", "multiply_adds_kept")):
        assert result.metrics["multiply_adds"][key] == sum(int(row[column]) for row in rows)
    assert result.metrics["effective_sparsity"] == pytest.approx(1 - (result.metrics["kept"] - off) / 270_896)


def test_the_statistics_are_in_the_result_and_tell_folders_apart(tmp_path):
    found = {
        chosen: runner.run(pruned(method="snip", rounds=1, statistics=chosen), out=tmp_path)
        for chosen in (None, "batch", "running")
    }
    assert [result.metrics["statistics"] for result in found.values()] == ["batch", "batch", "running"]
    assert found[None].folder == found["batch"].folder != found["running"].folder
    assert found["batch"].metrics["masks_digest"] != found["running"].metrics["masks_digest"]
    assert runner.run(pruned(method="random", rounds=1), out=tmp_path).metrics["statistics"] is None


def test_the_table_of_the_docs_has_every_method_with_its_rounds():
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
    rows = {m[1]: m[2] for m in re.finditer(r"^\| `([\w-]+)` \|.*\| ([\w %]+) \| (?:yes|no) \|", page, re.M)}
    assert rows.pop("imp")
    assert rows.pop("gmp") == str(gradual.ROUNDS)
    assert rows == {method: str(rounds.default_rounds(method)) for method in methods()}


@pytest.mark.slow
def test_allocation_options_and_recalibration_are_recorded_and_matter(tmp_path):
    plain = runner.run(pruned(method="ntk-sap"), out=tmp_path)
    options = ("inputs=gaussian", "resamplings=2", "epsilon=0.02")
    other = runner.run(pruned(method="ntk-sap", options=options), out=tmp_path)
    assert other.metrics["options"] == {"inputs": "gaussian", "resamplings": 2, "epsilon": 0.02}
    assert other.metrics["masks_digest"] != plain.metrics["masks_digest"]

    guided = runner.run(pruned(method="snip", allocation="px"), out=tmp_path)
    px = runner.run(RECIPE, out=tmp_path)
    counts = [Masks.load(r.folder / "masks.safetensors").layers() for r in (guided, px)]
    assert [row["kept"] for row in counts[0]] == [row["kept"] for row in counts[1]]
    assert guided.metrics["rounds"] == 2
    assert guided.metrics["allocation"] == "px"

    moved = runner.run(pruned(recalibrate=True), out=tmp_path)
    assert moved.metrics["recalibrated"] is True
    assert moved.metrics["masks_digest"] == px.metrics["masks_digest"]
    first, second = (load_file(r.folder / "model.safetensors") for r in (px, moved))
    changed = {key for key in first if not torch.equal(first[key], second[key])}
    assert changed
    assert all(key.endswith(("running_mean", "running_var", "num_batches_tracked")) for key in changed)


def stop_at(number, module, name, monkeypatch):
    """Let a function of a module stop the program at a call of it; return the list of the calls so far."""
    plain, calls = getattr(module, name), []

    def stops(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    monkeypatch.setattr(module, name, stops)
    return calls


def test_a_pruning_that_was_stopped_goes_on_in_its_round(tmp_path, monkeypatch):
    recipe = pruned(rounds=5)
    whole = runner.run(recipe, out=tmp_path / "whole")
    calls = stop_at(4, rounds, "score", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        runner.run(recipe, out=tmp_path / "stopped")
    (folder,) = (tmp_path / "stopped").iterdir()
    assert [p.name for p in folder.glob("masks-round-*")] == ["masks-round-3.safetensors"]
    again = runner.run(recipe, out=tmp_path / "stopped")
    assert len(calls) == 4 + 2, "rounds 4 and 5 only"
    assert not list(folder.glob("masks-round-*"))
    assert again.metrics == whole.metrics


@pytest.mark.slow
def test_imp_drops_the_smallest_trained_weights_and_rewinds(tmp_path):
    recipe = trained(pruned(method="imp", sparsity=0.36, rounds=None), epochs=1)
    job = runner.prepare(recipe)
    assert job.recipe.prune.rounds == 2, "20 % a round: 36 % takes two"
    start = {k: v.clone() for k, v in job.model.state_dict().items()}
    masks, history = imp_module.imp(
        job.model, job.loaders, job.recipe.train, sparsity=0.36, rounds=2, task=job.task,
        accelerator=job.accelerator, folder=tmp_path,
    )  # fmt: skip
    assert not history.epochs
    rounds = [Masks.load(tmp_path / f"round-{r}" / "masks.safetensors") for r in (1, 2)]
    assert [m.total - m.kept for m in rounds] == [round(0.2 * masks.total), round(0.36 * masks.total)]
    assert not any(bool((rounds[1][n] & ~rounds[0][n]).any()) for n in masks)
    for name, value in job.model.state_dict().items():  # the pretrained weights, BatchNorm too, with the masks
        expected = start[name] * masks[name] if name in masks else start[name]
        assert torch.equal(value, expected), name

    dense = runner.prepare(recipe)
    from transfer.training import finetune

    finetune(dense.model, None, dense.loaders, dense.recipe.train, task=dense.task, accelerator=dense.accelerator)
    sizes = torch.cat([w.detach().abs().flatten() for w in prunable.prunable(dense.model).values()])
    cut = sizes.sort().values[round(0.2 * masks.total)]
    for name, weight in prunable.prunable(dense.model).items():
        assert torch.equal(rounds[0][name], weight.abs() >= cut), "round 1 is the magnitude of the trained dense model"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("rewind=13",), pytest.param(("rewind_to=learning-rate",), marks=pytest.mark.large)]
)
def test_imp_that_was_stopped_comes_to_the_same_end(options, tmp_path, monkeypatch):
    recipe = trained(pruned(method="imp", sparsity=0.36, rounds=2, options=options), epochs=2)
    whole = runner.run(recipe, out=tmp_path / "whole")
    stop_at(2, imp_module, "finetune", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        runner.run(recipe, out=tmp_path / "stopped")
    again = runner.run(recipe, out=tmp_path / "stopped")
    assert again.metrics == whole.metrics
    rows = [json.loads(line) for line in (again.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert whole.metrics["best_epoch"] == (2 if options == ("rewind=13",) else whole.metrics["best_epoch"])
    for name in ("model.safetensors", "best.safetensors"):
        assert (again.folder / name).exists()
    left = {p.name for p in (again.folder / "imp").rglob("*") if p.is_file()}
    assert left == {"masks.safetensors"}


@pytest.mark.parametrize("ablate", ["shuffle", pytest.param("reinit", marks=pytest.mark.slow)])
def test_an_ablation_keeps_the_count_of_each_layer_and_goes_on_to_the_same_end(ablate, tmp_path, monkeypatch, capsys):
    usual = runner.run(pruned(method="magnitude", rounds=1), out=tmp_path)
    known, recipe = Masks.load(usual.folder / "masks.safetensors"), pruned(method="magnitude", rounds=1, ablate=ablate)
    whole, stopped = runner.run(recipe, out=tmp_path), tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_at(1, runner, "finetune", patch)
        with pytest.raises(KeyboardInterrupt):
            runner.run(recipe, out=stopped)
    assert runner.run(recipe, out=stopped).metrics == whole.metrics
    assert whole.folder != usual.folder
    assert (whole.metrics["ablate"], usual.metrics["ablate"]) == (ablate, None)
    masks = Masks.load(whole.folder / "masks.safetensors")
    assert [row["kept"] for row in masks.layers()] == [row["kept"] for row in known.layers()]
    assert (masks.digest() == known.digest()) == (ablate == "reinit")
    ended, start = load_file(whole.folder / "model.safetensors"), runner.prepare(recipe).model.state_dict()
    for name, mask in masks.items():
        assert not bool(ended[name][~mask].any())
        same = ended[name][mask] == start[name][mask]
        assert bool(same.all()) if ablate == "shuffle" else not bool(same.any())
    terminal.show_result(whole)
    assert f"ablated: {ablate}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_comparison_names_the_ablation(tmp_path):
    recipe = pruned(method="random", sparsity=0.5, ablate="shuffle")
    found = compare(recipe, methods=["random"], sparsities=[0.5], seeds=[0], out=tmp_path)
    assert [line[0] for line in found.lines] == ["dense", "random shuffle"]
    assert found.advice is None


def test_gmp_prunes_while_it_trains_and_writes_the_masks_it_ends_with(tmp_path):
    recipe = trained(pruned(method="gmp", rounds=None, options=("end=0.5",)), epochs=2)
    result = runner.run(recipe, out=tmp_path)
    masks = Masks.load(result.folder / "masks.safetensors")
    metrics = result.metrics
    assert (metrics["method"], metrics["rounds"], metrics["pruning_set"]) == ("gmp", 100, None)
    assert metrics["kept"] == masks.kept == 270_896 - int(0.8 * 270_896 + 0.5)
    assert metrics["masks_digest"] == masks.digest()
    assert json.loads((result.folder / "recipe.json").read_text())["prune"]["schedule"] == "cubic"
    for name in ("model.safetensors", "best.safetensors"):  # the best of those epochs that are sparse
        weights = load_file(result.folder / name)
        assert not any(bool(weights[key][~mask].any()) for key, mask in masks.items())
    with open(result.folder / "layers.csv", newline="") as file:
        assert sum(int(row["kept"]) for row in csv.DictReader(file)) == masks.kept
    assert runner.run(recipe, out=tmp_path).finished


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (pruned(options=("bf16",)), "prune.options has 'bf16'.*name=value"),
        (pruned(options=("bf16=true", "bf16=false")), "each option once"),
        (pruned(options=("gates=real",)), "has no option 'gates'; it takes bf16"),
        (pruned(method="snip", options=("a=1",)), "it takes none"),
        (pruned(method="ntk-sap", options=("inputs=cats",)), "allowed: real, gaussian"),
        (pruned(allocation="erk2"), "unknown allocation 'erk2'; did you mean erk"),
        (pruned(method="impp"), "unknown method 'impp'"),
        (pruned(method="imp"), "train.epochs of 1 or more"),
        (trained(pruned(method="imp", allocation="erk"), epochs=1), "give global"),
        (trained(pruned(method="imp", options=("rewind=22",)), epochs=2), "is 22; .* below 22 .2 epochs of 11 steps"),
        (trained(pruned(method="imp", options=("rewind=1", "rewind_to=learning-rate")), epochs=2), "and 0 with"),
        (trained(pruned(method="imp", options=("rewind_to=lr",)), epochs=1), "allowed: weights, learning-rate"),
        (pruned(images=0), "prune.images is 0"),
        (pruned(ablate="none"), "prune.ablate is 'none'"),
        (trained(pruned(method="imp", ablate="reinit"), epochs=1), "imp makes its masks while it trains"),
        (trained(pruned(method="gmp", ablate="shuffle"), epochs=1), "gmp makes its masks while it trains"),
        (pruned(method="keep", ablate="shuffle"), "prune.ablate is set, but does nothing with prune.method keep"),
        (pruned(pattern="2:4", ablate="shuffle"), "breaks the pattern 2:4"),
        (pruned(method="gmp"), "train.epochs of 1 or more"),
        (trained(pruned(method="gmp", allocation="px"), epochs=1), "gmp takes global, uniform or erk"),
        (trained(pruned(method="gmp", allocation="erk2"), epochs=1), "unknown allocation 'erk2'"),
        (trained(pruned(method="gmp", recalibrate=True), epochs=1), "prune.recalibrate is set"),
        (trained(pruned(method="gmp", statistics="batch"), epochs=1), "looks at no BatchNorm"),
        (trained(pruned(method="gmp", options=("begin=0.5", "end=0.5")), epochs=1), "are 0.5 and 0.5; .* begin < end"),
        (trained(pruned(method="gmp", options=("end=1.5",)), epochs=1), "0 <= begin < end <= 1"),
        (trained(pruned(method="gmp", options=("every=3",)), epochs=1), "no option 'every'; it takes begin, end"),
        (trained(pruned(method="gmp", pattern="2:4", sparsity=0.3), epochs=1), "a sparsity of at least 0.5"),
        (trained(pruned(method="gmp", schedule="cubed"), epochs=1), "unknown schedule 'cubed'; did you mean cubic"),
    ],
)
def test_what_is_refused_before_anything_is_written(recipe, says, tmp_path):
    with pytest.raises(InputError, match=says) as caught:
        runner.run(recipe, out=tmp_path / "runs")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()
