"""The file of a sweep: what it holds, and what it tells of a sweep that changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from checkpoints import InputError
from checkpoints.files import read_json
from tests.sweeps.small import RECIPE
from transfer.runs.grid import Grid
from transfer.sweeps import record
from transfer.sweeps.cells import planned

GRID = Grid(("magnitude", "random"), (0.5,), seeds=(0,))


def written(out: Path) -> Path:
    folder = record.folder_of(RECIPE, GRID, out, "mine")
    cells, _ = planned(RECIPE, GRID, out)
    cells[1].error = "magnitude 50.00%, seed 0: no"
    record.write(folder, RECIPE, GRID, cells)
    return folder


def test_what_it_holds(tmp_path: Path) -> None:
    folder = written(tmp_path)
    assert folder == tmp_path / "small-sweep-mine"
    found = read_json(folder / "sweep.json")
    assert found["runs"][1] == "small-random-resnet20-magnitude-0.5-s0"
    assert found["failed"] == [{"run": found["runs"][1], "error": "magnitude 50.00%, seed 0: no"}]
    assert [each["status"] for each in found["cells"]] == ["open", "failed", "open"]
    assert found["recipe"] == RECIPE.to_dict()


@pytest.mark.parametrize(
    ("recipe", "grid", "told"),
    [
        (RECIPE, GRID, ""),
        (RECIPE, replace(GRID, methods=("random", "px")), "methods +px -magnitude"),
        (RECIPE, replace(GRID, seeds=(0, 1), sparsities=()), "sparsities -0.5; seeds +1"),
        (replace(RECIPE, train=replace(RECIPE.train, epochs=3)), GRID, "train.epochs 0 is now 3"),
    ],
)
def test_what_changed_is_told(recipe, grid: Grid, told: str, tmp_path: Path) -> None:
    assert record.changes(written(tmp_path), recipe, grid) == told


def test_other_lists_have_another_folder_unless_it_has_a_label(tmp_path: Path) -> None:
    other = replace(GRID, seeds=(0, 1))
    folders = {record.folder_of(RECIPE, grid, tmp_path, None) for grid in (GRID, other)}
    assert len(folders) == 2
    assert record.folder_of(RECIPE, other, tmp_path, "mine") == tmp_path / "small-sweep-mine"


@pytest.mark.parametrize("label", ["", "a/b", "..", "a b"])
def test_a_label_that_is_no_name(label: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label is"):
        record.folder_of(RECIPE, GRID, tmp_path, label)


@pytest.mark.parametrize("content", ["[]", "{", '{"grid": 1}'])
def test_a_damaged_record_is_one_line(content: str, tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "sweep.json").write_text(content)
    with pytest.raises(InputError, match=r"sweep\.json is (no record of a sweep|not JSON)"):
        record.changes(folder, RECIPE, GRID)


@pytest.mark.parametrize("name", ["../../x", "a/b", "/root"])
def test_the_folder_lies_under_out_whatever_the_recipe_is_called(name: str) -> None:
    folder = record.folder_of(replace(RECIPE, name=name), GRID, Path("runs"), "mine")
    assert folder.parent == Path("runs")
    assert ".." not in folder.parts
