"""Recipes: JSON there and back, and every bad value refused in one line before any work."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import InputError
from transfer.data.augment import Augment, MaskAugment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs.prepare import check

REAL = st.floats(0, 1e6, allow_nan=False)
COUNT = st.integers(1, 1000)
AUGMENT = st.builds(Augment, pad_crop=st.integers(0, 8), flip=st.booleans()) | st.builds(
    Augment, resized_crop=st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1.0)), ratio=st.just((0.8, 1.25))
)
RECIPES = st.builds(
    Recipe,
    name=st.text(min_size=1),
    backbone=st.text(),
    stem=st.sampled_from(["imagenet", "cifar"]),
    data=st.builds(Data, name=st.text(), size=COUNT, augment=AUGMENT, workers=st.integers(0, 9)),
    prune=st.builds(
        Prune,
        method=st.sampled_from(["px", "snip", "random"]),
        sparsity=st.floats(0, 1, exclude_max=True),
        rounds=st.none() | COUNT,
        exclude=st.lists(st.text()).map(tuple),
    ),
    train=st.builds(
        Train,
        epochs=st.integers(0, 200),
        optimizer=st.sampled_from(["sgd", "adam", "adamw"]),
        lr=REAL,
        milestones=st.lists(COUNT).map(tuple),
        clip_norm=st.none() | st.floats(1e-3, 1e3),
        channels_last=st.booleans(),
        compile=st.booleans(),
    ),
    seed=st.integers(0, 2**31),
)

PRUNE, TRAIN = Prune(rounds=1), Train()
nan, inf = float("nan"), float("inf")
BAD: dict[str, Recipe] = {
    f"{room} {key} {value}": replace(Recipe("r"), **{room: replace(base, **{key: value})})
    for room, base, key, values in [
        ("prune", PRUNE, "sparsity", (1.0, 1.5, -0.1, nan, inf, "0.9")),
        ("prune", PRUNE, "rounds", (0, -1, 1.5)),
        ("prune", PRUNE, "method", ("pxx", "", "dense")),
        ("prune", PRUNE, "schedule", ("cosine",)),
        ("prune", PRUNE, "statistics", ("stored", "", 1)),
        ("prune", Prune(method="random"), "statistics", ("batch",)),
        ("prune", Prune(method="imp"), "statistics", ("running",)),
        ("prune", PRUNE, "per_class", (0,)),
        ("prune", PRUNE, "batch", (0,)),
        ("train", TRAIN, "epochs", (-1, 0.5)),
        ("train", TRAIN, "batch", (0, -8)),
        ("train", TRAIN, "lr", (-0.1, nan, inf)),
        ("train", TRAIN, "momentum", (-0.5, nan)),
        ("train", TRAIN, "weight_decay", (-1e-4, inf)),
        ("train", TRAIN, "gamma", (-1.0, nan)),
        ("train", TRAIN, "warmup", (-1,)),
        ("train", TRAIN, "clip_norm", (0.0, -1.0, nan)),
        ("train", TRAIN, "optimizer", ("rmsprop",)),
        ("train", TRAIN, "schedule", ("linear",)),
        ("train", TRAIN, "precision", ("fp8",)),
        ("data", Data(), "size", (0, -32)),
        ("data", Data(), "workers", (-1,)),
    ]
    for value in values
} | {
    "nesterov without momentum": Recipe("r", train=Train(nesterov=True, momentum=0.0)),
    "seed -1": Recipe("r", seed=-1),
    "seed 2**70": Recipe("r", seed=2**70),
    "stem": Recipe("r", stem="mnist"),  # type: ignore[arg-type]
}
MAPS = Data(name="voc-sample")
IDLE = {
    "stem": Recipe("r", data=MAPS, stem="cifar"),
    "data.augment": Recipe("r", data=replace(MAPS, augment=Augment(pad_crop=4))),
    "prune.per_class": Recipe("r", data=MAPS, prune=Prune(per_class=3)),
    "output_stride": Recipe("r", output_stride=8),
    "data.mask_augment": Recipe("r", data=Data(mask_augment=MaskAugment(flip=False))),
    "data.protocol": Recipe("r", data=Data(protocol="center")),
    "prune.images": Recipe("r", prune=Prune(images=3)),
    "train.lr_trunk": Recipe("r", train=Train(lr_trunk=0.1)),
}


@settings(deadline=None, max_examples=60)
@given(RECIPES)
def test_json_there_and_back(recipe: Recipe) -> None:
    content = json.loads(json.dumps(recipe.to_dict()))
    back = Recipe.from_dict(content)
    assert back == recipe
    assert back.to_dict() == content


@pytest.mark.parametrize("recipe", BAD.values(), ids=BAD.keys())
def test_a_bad_value_is_refused_in_one_line(recipe: Recipe) -> None:
    with pytest.raises(InputError) as caught:
        recipe.check()
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("setting", "recipe"), IDLE.items(), ids=IDLE.keys())
def test_a_setting_that_the_task_does_not_look_at_is_refused(setting: str, recipe: Recipe) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(setting)} is set, but does nothing with .*; leave it out"):
        check(recipe)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"name": "r", "sparsity": 0.9}, "^recipe has no setting 'sparsity'; known: name, "),
        ({"name": "r", "prune": {"Sparsity": 0.9}}, "^prune has no setting 'Sparsity'; did you mean sparsity"),
        ({"name": "r", "prune": {"sparsity": "0.9"}}, r"^prune\.sparsity is '0\.9'"),
        ({"name": "r", "prune": {"rounds": 1.5}}, r"^prune\.rounds is 1\.5"),
        ({"name": "r", "prune": {"exclude": "fc"}}, r"^prune\.exclude"),
        ({"name": "r", "prune": {"exclude": [1]}}, r"^prune\.exclude\.0 is 1; it should be a valid string"),
        ({"name": "r", "train": {"epochs": True}}, r"^train\.epochs is True"),
        ({"name": "r", "train": {"optimizer": "rmsprop"}}, "rmsprop"),
        ({"name": "r", "train": {"optimizer": ["sgd"]}}, r"^train\.optimizer"),
        ({"name": "r", "data": None}, "^data is None; it should be an object"),
        ({"name": "r", "data": {"augment": {"flip": 1}}}, r"^data\.augment\.flip is 1"),
        ({"name": "r", "data": {"augment": {"pad_crop": -1}}}, r"^data\.augment is .*; pad_crop must be 0"),
        ({"name": "r", "data": {"augment": {"resized_crop": [0.5]}}}, "resized_crop"),
        ({"name": "r", "data": {"augment": {"ratio": []}}}, "ratio"),
        ({"name": "r", "train": {"clip_norm": 0}}, r"^train\.clip_norm is 0; it should be greater than 0"),
        ({"name": "r", "train": {"milestones": [3, 0]}}, r"^train\.milestones\.1 is 0; .* or equal to 1"),
        ({"name": "r", "train": {"lr": 10**400}}, r"^train\.lr is 10*; it should be a (finite|valid) number"),
        ({"name": "r", "data": {"augment": {"ratio": [1, inf]}}}, r"^data\.augment\.ratio\.1 is inf"),
        ({"name": "r", "seed": 2**32}, "^seed is 4294967296; it should be less than 4294967296"),
        ({"name": "r", "seed": 10**5000}, "^recipe cannot be written as JSON: .*digits"),
        ({"name": "r", "data": json.loads("[" * 300 + "]" * 300)}, "Invalid JSON: recursion limit"),
        ({"name": "\ud800"}, "Invalid JSON"),
        ({"name": "r", "": 1}, "^recipe has no setting ''"),
        ({"name": Path("r")}, "^name is .*Path.*; it should be a valid string"),
        ({"backbone": "embedded"}, "^name is missing"),
        ({"name": 3}, "^name is 3"),
        ([], r"recipe is \[\]"),
        (None, "recipe is None"),
    ],
)
def test_json_of_another_form_is_refused(content: Any, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        Recipe.from_dict(content)
    assert "\n" not in str(caught.value)


def test_rounds_are_filled_in_and_nothing_of_a_dense_run_is_left_to_differ() -> None:
    assert Recipe("r", prune=Prune(method="px")).resolved().prune.rounds == 100
    assert Recipe("r", prune=Prune(method="magnitude")).resolved().prune.rounds == 1
    assert Recipe("r", prune=Prune(method="px", rounds=7)).resolved().prune.rounds == 7
    dense = [Recipe("r", prune=Prune(method=method, sparsity=0.0, rounds=3)).resolved() for method in ("px", "snip")]
    assert dense[0] == dense[1] == dense[0].resolved()
    dense[0].check()


def test_whole_numbers_are_read_as_fractions() -> None:
    assert Recipe.from_dict({"name": "r", "train": {"lr": 1}}).train.lr == 1.0


@pytest.mark.parametrize(
    ("prune", "wanted"),
    [
        (Prune(method="px"), "batch"),
        (Prune(method="snip", statistics="warmup"), "warmup"),
        (Prune(method="random"), None),
        (Prune(method="imp"), None),
        (Prune(method="random", allocation="px"), "batch"),
        (Prune(method="magnitude", allocation="erk"), None),
    ],
)
def test_the_statistics_of_a_run_are_the_methods_unless_named(prune, wanted):
    recipe = Recipe("r", prune=prune)
    recipe.check()
    assert recipe.resolved().prune.statistics == wanted


def test_with_frozen_norms_scores_see_the_stored_statistics_unless_told_otherwise():
    frozen = Train(freeze_norm=True)
    found = [
        Recipe("r", prune=prune, train=frozen).resolved().prune.statistics
        for prune in (Prune(method="snip"), Prune(method="snip", statistics="batch"), Prune(method="random"))
    ]
    assert found == ["running", "batch", None]


def test_a_recipe_of_before_there_was_a_choice_of_statistics_is_read():
    content = Recipe("r", prune=Prune(method="px")).to_dict()
    del content["prune"]["statistics"]
    assert Recipe.from_dict(content).prune.statistics is None


def test_a_recipe_from_before_a_setting_had_its_name_is_read() -> None:
    content = Recipe("r", data=Data(mask_augment=MaskAugment(scale=(1.0, 1.0)))).to_dict()
    old = {**content, "data": {**content["data"], "maps": content["data"]["mask_augment"]}}
    del old["data"]["mask_augment"]
    assert Recipe.from_dict(old) == Recipe.from_dict(content)


def test_colours_are_in_the_name_of_a_run_only_where_they_are_asked_for():
    plain = Recipe("r", data=Data(augment=Augment(flip=True)))
    assert {"jitter", "grayscale"}.isdisjoint(plain.decisive()["data"]["augment"])
    jitter = Recipe("r", data=Data(augment=Augment(flip=True, jitter=0.4)))
    assert jitter.decisive()["data"]["augment"] == {**plain.decisive()["data"]["augment"], "jitter": 0.4}
