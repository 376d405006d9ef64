"""What is averaged and what is not: sections, rows, labels, and runs that are there twice."""

import dataclasses
import math

import pytest

from tests.report.records import record
from tests.report.run_folders import DATA, RECIPE
from transfer.recipe import Data, Train
from transfer.report.rows import rows_of
from transfer.report.sections import split


def test_seeds_are_averaged():
    (section,), twice = split([record(seed=seed, value=value) for seed, value in enumerate((0.9, 0.8, 0.7))])
    (row,) = section.rows
    assert (row.label, row.level, twice) == ("px", 0.9, [])
    assert (row.mean, row.std) == pytest.approx((0.8, 0.1))


def test_one_seed_has_no_spread():
    (section,), _ = split([record()])
    assert section.rows[0].std is None


OTHER_DATA = DATA | {"test": DATA["test"] | {"digest": "e" * 64}}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"recipe": dataclasses.replace(RECIPE, train=Train(epochs=9))}, "train.epochs 2 there, 9 here"),
        ({"recipe": dataclasses.replace(RECIPE, data=Data(size=64))}, "data.size 32 there, 64 here"),
        ({"recipe": dataclasses.replace(RECIPE, backbone="timm:resnet18.a1_in1k")}, "backbone embedded there"),
        ({"data": OTHER_DATA}, "data "),
        ({"versions": {"px-transfer": "0.1.0", "torch": "2.15.0"}}, "version of torch 2.14.1 there, 2.15.0 here"),
        ({"precision": "bf16"}, "precision no there, bf16 here"),
        ({"device": "cuda"}, "device cpu there, cuda here"),
        ({"task": "segmentation", "miou": 0.5}, "task classification there, segmentation here"),
    ],
)
def test_what_differs_is_never_averaged_and_the_line_says_why(other, why):
    sections, twice = split([record(seed=0), record(seed=1, **other), record(seed=2)])
    assert [len(section.records) for section in sections] == [2, 1]
    assert sections[0].differs == ""
    assert "not averaged with section 1: " in sections[1].differs
    assert why in sections[1].differs
    assert twice == []


def test_a_section_is_told_apart_from_the_nearest():
    two = dataclasses.replace(RECIPE, train=Train(epochs=9))
    three = dataclasses.replace(two, data=Data(size=64))
    _, _, last = split([record(), record(recipe=two), record(recipe=three)])[0]
    assert "section 2: data.size 32 there, 64 here; data.augment.pad_crop 2 there, 0 here" in last.differs


@pytest.mark.parametrize("other", [{"data": Data(name="digits", size=32, workers=1, augment=RECIPE.data.augment)}])
def test_workers_do_not_count(other):
    sections, _ = split([record(), record(seed=1, recipe=dataclasses.replace(RECIPE, **other))])
    assert len(sections) == 1


def test_random_weights_follow_from_the_seed():
    random = dataclasses.replace(RECIPE, backbone="random:resnet20")
    runs = [record(seed=seed, recipe=random, backbone_digest=str(seed) * 64) for seed in (1, 2)]
    assert len(split(runs)[0]) == 1


def test_ways_of_one_method_are_rows_of_their_own_and_labelled_by_what_differs():
    runs = [record(), record(prune={"allocation": "erk"}), record("snip"), record("dense", 0.0)]
    (section,), _ = split(runs)
    assert [row.label for row in section.rows] == ["dense", "px", "px (allocation erk)", "snip"]


@pytest.mark.parametrize(
    ("method", "prune", "label"),
    [
        ("px", {"ablate": "shuffle"}, "px (ablate shuffle)"),
        ("px", {"pattern": "2:4"}, "px (pattern 2:4)"),
        ("px", {"recalibrate": True, "exclude": ("fc",)}, "px (recalibrate true, exclude fc)"),
        ("magnitude", {"allocation": "px"}, "magnitude (allocation px)"),  # whose rounds and statistics it takes
        ("px", {"statistics": "running", "schedule": "linear", "rounds": 10},
         "px (rounds 10, schedule linear, statistics running)"),
        ("px", {"per_class": 5}, "px"),
        ("mine", {"rounds": 3}, "mine (rounds 3)"),
        ("dense", {}, "dense"),
    ],
)  # fmt: skip
def test_a_label_names_what_the_method_does_not_do_by_default(method, prune, label):
    (section,), _ = split([record(method, 0.0 if method == "dense" else 0.9, prune=prune)])
    assert [row.label for row in section.rows] == [label]


def test_pruning_sets_are_named_where_they_differ():
    (section,), _ = split([record(), record(prune={"per_class": 5}), record("snip", prune={"per_class": 5})])
    assert [row.label for row in section.rows] == ["px (per_class 10)", "px (per_class 5)", "snip"]


def test_rounds_of_imp_are_rows_of_their_own():
    runs = [record("imp", 0.9), record("imp", 0.99), record("imp", 0.9, value=0.1, prune={"rounds": 3})]
    (section,), _ = split(runs)
    assert [(row.label, row.level, row.mean) for row in section.rows] == [
        ("imp", 0.9, 0.9), ("imp", 0.99, 0.9), ("imp (rounds 3)", 0.9, 0.1),
    ]  # fmt: skip


def test_no_run_is_overwritten():
    with pytest.raises(AssertionError, match="have one label"):
        rows_of([record(), record()])


def test_a_sparsity_near_one_stays_below_it():
    assert record(sparsity=0.99999999).level == 0.99999999
    assert record(sparsity=1 / 3).level == 0.333333


def test_a_run_that_is_there_twice_counts_once():
    (section,), twice = split([record(value=0.9), record(value=0.9), record(value=0.5), record(value=math.nan)])
    assert section.rows[0].mean == 0.9
    assert [why for _, why in twice] == [
        "the same run as runs/px-0.9-0; left out",
        "the same run as runs/px-0.9-0, and their results differ (0.9 and 0.5); left out",
        "the same run as runs/px-0.9-0, and their results differ (0.9 and nan); left out",
    ]


def test_nan_is_shown_as_nan():
    (section,), _ = split([record(value=math.nan), record(seed=1, value=0.5)])
    row = section.rows[0]
    assert section.headline.text(row.mean, row.std) == "nan% ± nan"
