"""What a report finds in folders, and one line for each thing that is wrong with them."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from checkpoints import InputError
from checkpoints.files import read_json
from tests.report.run_folders import RECIPE, write_run
from transfer.pruning import Masks
from transfer.report.rows import rows_of
from transfer.runs import run_files
from transfer.runs.gather import gather


def faults(found) -> list[tuple[str, str, str]]:
    return [(fault.kind, fault.where, fault.what) for fault in found.faults]


def comparison(folder: Path, name: str = "comparison.json", **content) -> Path:
    folder.mkdir()
    (folder / name).write_text(json.dumps(content))
    return folder


def test_a_run_folder_and_a_folder_that_holds_some(tmp_path):
    run = write_run(tmp_path / "runs", seed=3)
    (tmp_path / "runs" / "notes").mkdir()
    for given in ([run], [tmp_path / "runs"], [run, tmp_path / "runs", run]):
        found = gather(given)
        assert [record.folder for record in found.records] == [run]
        assert found.faults == []


def test_the_folder_may_be_the_current_one(tmp_path, monkeypatch):
    run = write_run(tmp_path)
    monkeypatch.chdir(run)
    assert gather([Path()]).records[0].folder.name == run.name


def test_what_a_run_holds(tmp_path):
    run = write_run(tmp_path, sparsity=0.98)
    (run / "spectrum.json").write_text(json.dumps({"dense": [2, 1.5], "pruned": [1, 0.5]}))
    (record,) = gather([run]).records
    assert (record.method, record.level, record.seed, record.value) == ("px", 0.98, 0, 0.9)
    assert (record.prune_s, record.train_s) == (1.5, 7.5)
    assert record.spectrum == {"dense": [2.0, 1.5], "pruned": [1.0, 0.5]}
    assert [row["epoch"] for row in record.epochs] == [1, 2]
    assert record.dense_bytes == (run / "model.safetensors").stat().st_size


def test_living_units_are_kernels_with_a_kept_weight(tmp_path):
    run = write_run(tmp_path, sparsity=0.98)
    living = rows_of(gather([run]).records)[0].layers(lambda layer: layer["units"] - layer["dead_units"])
    masks = Masks.load(run / "masks.safetensors")
    assert living == {name.removesuffix(".weight"): np.sum([unit.any() for unit in mask.numpy()])
                      for name, mask in masks.items()}  # fmt: skip
    assert sum(living.values()) < 50  # some are dead, so that this can fail


def test_the_file_is_that_of_the_sparse_writer(tmp_path):
    run = write_run(tmp_path, sparsity=0.98, shapes={"a": (64, 64, 3, 3), "head.fc": (10, 64)})
    (record,) = gather([run]).records
    kept = sum(np.count_nonzero(weight) for weight in load_file(run / "model.safetensors").values())
    assert 4 * kept < record.sparse_bytes < 0.2 * record.dense_bytes


def test_a_comparison_and_a_sweep_name_the_runs_beside_them(tmp_path):
    one, two = write_run(tmp_path, seed=0), write_run(tmp_path, seed=1)
    write_run(tmp_path, seed=2)
    folder = comparison(tmp_path / "c", data="", rows=[], runs=[one.name])
    sweep = comparison(
        tmp_path / "s", "sweep.json", runs=[two.name, "gone"], failed=[{"run": "bad", "error": "out of\nmemory"}],
        cells=[{"run": "gone", "cell": "px 90.00%, seed 3", "status": "open"}],
    )  # fmt: skip
    assert [record.folder for record in gather([folder]).records] == [one]
    found = gather([sweep])
    assert [record.folder for record in found.records] == [two]
    assert faults(found) == [
        ("failed", "bad", "out of memory"),
        ("missing", "gone", f"{sweep}/sweep.json lists it, but there is no such run"),
    ]  # fmt: skip
    assert found.faults[1].cell == "px 90.00%, seed 3"
    assert [fault.kind for fault in gather([tmp_path]).faults] == ["failed", "missing"]


def test_a_failed_run_that_finished_since_is_a_run(tmp_path):
    run = write_run(tmp_path)
    sweep = comparison(tmp_path / "s", "sweep.json", runs=[run.name], failed=[{"run": run.name, "error": "killed"}])
    assert faults(gather([sweep])) == []


def test_a_failed_run_is_not_told_twice(tmp_path):
    write_run(tmp_path)
    bad = write_run(tmp_path, method="snip", seed=1)
    (bad / "result.json").unlink()
    comparison(tmp_path / "s", "sweep.json", runs=[bad.name], failed=[{"run": bad.name, "error": "killed"}])
    (fault,) = gather([tmp_path]).faults
    assert (fault.kind, fault.what, fault.cell) == ("failed", "killed", "snip 90.00%, seed 1")


@pytest.mark.parametrize(
    ("name", "content", "kind", "says"),
    [
        ("result.json", None, "unfinished", "no result yet, 2 of its epochs are done"),
        ("result.json", '{"accuracy": 0.', "damaged", "is not JSON"),
        ("result.json", "[]", "damaged", "result.json has no task"),
        ("result.json", "{}", "damaged", "result.json has no task"),
        ("recipe.json", None, "damaged", "there is no file"),
        ("recipe.json", '{"name": 3}', "damaged", "name"),
        ("layers.csv", None, "incomplete", "layers.csv is not there; the rest is shown"),
        ("layers.csv", "layer,total\nx,y\n", "incomplete", "layers.csv cannot be read"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epo', "incomplete", "metrics.jsonl cannot be read"),
        ("timing.json", '{"prune_s": "long"}', "incomplete", "timing.json cannot be read"),
        ("origin.json", "{}", "incomplete", "origin.json cannot be read"),
        ("spectrum.json", '{"dense": 1}', "incomplete", "spectrum.json cannot be read"),
        ("model.safetensors", "not weights", "incomplete", "model.safetensors cannot be read"),
        ("model.safetensors", None, "incomplete", "model.safetensors is not there"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_one_line_and_the_rest_is_shown(tmp_path, name, content, kind, says):
    write_run(tmp_path, seed=0)
    run = write_run(tmp_path, seed=1)
    (run / name).unlink(missing_ok=True)
    if content is not None:
        (run / name).write_text(content)
    found = gather([tmp_path])
    (fault,) = found.faults
    assert (fault.kind, fault.where) == (kind, run.name)
    assert says in fault.what
    assert "\n" not in fault.what
    assert len(found.records) == (2 if kind == "incomplete" else 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"accuracy": "high"}, "accuracy is 'high'"),
        ({"headline": "miou", "task": "segmentation"}, "KeyError('protocol')"),
        ({"seed": 9}, "of another recipe"),
        ({"kept": None}, "damaged"),
        ({"sparsity_asked": 1.5}, "damaged"),
        ({"versions": "new"}, "damaged"),
    ],
)
def test_a_result_that_cannot_be_shown(tmp_path, change, says):
    write_run(tmp_path)
    write_run(tmp_path, seed=1, result=change)
    (fault,) = gather([tmp_path]).faults
    assert fault.kind == "damaged"
    assert says in fault.what


def test_nan_is_a_value(tmp_path):
    (record,) = gather([write_run(tmp_path, value=float("nan"))]).records
    assert np.isnan(record.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "is not there, or cannot be reached; give run folders"),
        (lambda path: path.write_text(""), "is neither a folder nor a zip; give run folders"),
        (lambda path: path.mkdir(), "holds no run; give run folders"),
        (lambda path: (write_run(path) / "result.json").unlink(), "is finished ("),
        (lambda path: comparison(path, runs=["../x"]), "'../x' is no folder's name"),
        (lambda path: comparison(path, runs=["x"]), "lists it, but there is no such run"),
        (lambda path: comparison(path, rows=[]), "it is no list of runs"),
    ],
)
def test_nothing_to_show(tmp_path, make, says):
    make(tmp_path / "x")
    with pytest.raises(InputError) as caught:
        gather([tmp_path / "x"])
    assert says in str(caught.value)


def test_a_task_that_is_not_registered_says_what_to_import(tmp_path):
    run = write_run(tmp_path, recipe=RECIPE, result={"task": "regression", "rmse": 3.0})
    with pytest.raises(InputError, match=r"task 'regression' is unknown.*--import the module that registers it"):
        gather([run])


def test_a_run_that_cannot_be_read_is_noted(tmp_path, monkeypatch):
    write_run(tmp_path)
    denied = write_run(tmp_path, seed=1, name="denied")

    def reading(path):
        if path.parent == denied:
            raise PermissionError(13, "Permission denied")
        return read_json(path)

    monkeypatch.setattr(run_files, "read_json", reading)
    found = gather([tmp_path])
    assert len(found.records) == 1
    assert faults(found) == [("damaged", "denied", "it cannot be read (Permission denied)")]


def test_a_folder_that_cannot_be_opened_is_noted(tmp_path, monkeypatch):
    write_run(tmp_path)
    write_run(tmp_path, seed=1, name="closed")
    monkeypatch.setattr("os.access", lambda path, mode: path.name != "closed")
    found = gather([tmp_path])
    assert faults(found) == [("damaged", "closed", "it cannot be opened; mend its permissions")]
    assert len(found.records) == 1


@pytest.mark.parametrize("wrong", [{"sparsity": 1.5}, {"method": "snip"}, {"sparsity_asked": 0.8}, {"sparsity": -0.1}])
def test_a_result_of_another_recipe_is_damaged(tmp_path, wrong):
    write_run(tmp_path, seed=1)
    write_run(tmp_path, result=wrong)
    (fault,) = gather([tmp_path]).faults
    assert fault.kind == "damaged"
    assert "damaged or of another recipe" in fault.what


def test_a_kept_backbone_has_weights(tmp_path):
    write_run(tmp_path, seed=1)
    write_run(tmp_path, "keep", 0.0, result={"sparsity": 1.0})
    assert [fault.kind for fault in gather([tmp_path]).faults] == ["damaged"]


def test_a_spectrum_has_its_settings(tmp_path):
    run = write_run(tmp_path)
    (run / "spectrum.json").write_text(json.dumps({"dense": [2], "pruned": [1], "settings": {"images": 10}}))
    (record,) = gather([run]).records
    assert record.spectrum_settings == {"images": 10}
