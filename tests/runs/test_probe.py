"""transfer probe: heads on three backbones of a run; what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import transfer
from checkpoints.errors import InputError
from transfer.data.dataset import Images
from transfer.figures.subject import subject_of_run
from transfer.pruning import Masks
from transfer.pruning.ablation import redraw_
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs.probe import _some, probe
from transfer.runs.start import begin_, masks_of

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What a finished run's folder says of itself; nothing was trained."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "result.json").write_text("{}")
    recipe = Recipe("made", data=Data(size=16), prune=Prune(method="magnitude", sparsity=0.8, rounds=1))
    (run / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    return run


def with_masks(run: Path) -> Path:
    transfer.pruning.Masks({"conv.weight": torch.ones(2, 2, dtype=torch.bool)}).save(run / "masks.safetensors")
    return run


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ((), "give one data set or more"),
        (("digits", "digits"), "each once"),
        (("digitz",), "did you mean digits"),
        (("voc-sample",), "is for segmentation"),
    ],
)
def test_bad_data_is_refused(made: Path, data: tuple[str, ...], match: str) -> None:
    with pytest.raises(InputError, match=match):
        probe(with_masks(made), data)


def test_bad_numbers_and_folders_are_refused(made: Path) -> None:
    run = with_masks(made)
    with pytest.raises(InputError, match="images is 0"):
        probe(run, ["digits"], images=0)
    with pytest.raises(InputError, match="cross-validation needs 2 of each of the 10 classes"):
        probe(run, ["digits"], images=19)
    with pytest.raises(InputError, match="is no folder"):
        probe(run, ["digits"], out=run / "recipe.json")


def test_a_run_that_pruned_nothing_or_is_unfinished_is_refused(made: Path, command: Command) -> None:
    with pytest.raises(InputError, match="pruned nothing"):
        probe(made, ["digits"])
    (made / "result.json").unlink()
    code, _, err = command("probe", str(made), "--data", "digits")
    assert code == 2
    assert "there is no file" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("method", "options", "match"),
    [
        ("gmp", (), "whose fine-tuning began before it pruned"),
        ("imp", ("rewind=5",), "of imp with rewind=5: it went on from weights"),
        ("imp", ("rewind_to=learning-rate",), "which are not kept"),
    ],
)
def test_a_run_whose_start_is_not_kept_is_refused(
    made: Path, method: str, options: tuple[str, ...], match: str
) -> None:
    recipe = Recipe("made", prune=Prune(method, 0.8, options=options))
    (made / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    with pytest.raises(InputError, match=match):
        probe(with_masks(made), ["digits"])
    with pytest.raises(InputError, match=match):
        subject_of_run(made, 1)


def test_a_run_of_imp_began_from_the_pretrained_weights(made: Path) -> None:
    assert masks_of(with_masks(made), Recipe("made", prune=Prune("imp", 0.8, options=("rewind=0",)))).kept == 4


def test_weights_drawn_anew_are_those_that_the_run_began_with() -> None:
    recipe, masks = Recipe("r", prune=Prune(ablate="reinit"), seed=3), Masks({"0.weight": torch.eye(4) > 0})
    ours, its = (torch.nn.Sequential(torch.nn.Linear(4, 4)) for _ in range(2))
    begin_(ours, masks, recipe)
    redraw_(its, masks, 3)
    assert torch.equal(ours[0].weight, its[0].weight)


def test_a_segmentation_is_refused(made: Path) -> None:
    (made / "recipe.json").write_text(json.dumps(Recipe("made", data=Data(name="voc-sample")).to_dict()))
    with pytest.raises(InputError, match="is a segmentation of voc-sample; probes are for runs of classification"):
        probe(made, ["digits"])


def test_a_part_of_a_split_is_balanced_and_the_same_each_time() -> None:
    labels = torch.tensor([0] * 70 + [1] * 26 + [2] * 4)
    pixels = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 3, 1, 1)
    split = Images(pixels, labels)
    part = _some(split, 3, 30, seed=0)
    assert torch.bincount(part.labels).tolist() == [10, 10, 4]
    assert torch.equal(_some(split, 3, 30, seed=0).pixels, part.pixels)
    assert not torch.equal(_some(split, 3, 30, seed=1).pixels, part.pixels)
    assert _some(split, 3, 100, seed=0) is split


@pytest.mark.slow
def test_a_real_run(tmp_path: Path, command: Command) -> None:
    pruning = Prune(method="magnitude", sparsity=0.9, rounds=1, per_class=2)
    recipe = Recipe(name="tiny", data=Data(size=16), prune=pruning, train=Train(epochs=0, precision="no"))
    run, other = transfer.run(recipe, out=tmp_path).folder, tmp_path / "other"
    before = sorted(run.iterdir())
    code, out, err = command("probe", str(run), "--data", "digits", "--images", "50", "--out", str(other))
    assert code == 0, err
    assert "(seen)" in out
    rows = json.loads((other / "probe.json").read_text())["rows"]
    assert [row["backbone"] for row in rows] == ["dense", "pruned", "pruned, own BatchNorm", "pruned and fine-tuned"]
    assert {(row["train"], row["test"], row["seen"]) for row in rows} == {(50, 50, True)}
    _, pruned, _, tuned = ({**row, "backbone": ""} for row in rows)
    assert pruned == tuned  # trained for no epoch
    assert all(0.2 < row[head] <= 1 for row in rows for head in ("ridge", "logistic"))
    assert rows[0]["ridge"] != rows[1]["ridge"]
    assert len((other / "probe.csv").read_text().splitlines()) == 5
    assert sorted(run.iterdir()) == before
