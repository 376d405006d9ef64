"""torch.compile: what is said where it does not work; tests/training/test_resume.py trains with it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import pytest
import torch

from checkpoints import InputError
from tests.runs.test_folder import MADE, RECIPE
from transfer.compiled import check_compiler
from transfer.distributed import accelerator_for
from transfer.recipe import Train
from transfer.runs.folder import folder_name


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    check_compiler.cache_clear()
    yield
    check_compiler.cache_clear()


def test_a_machine_without_a_compiler_is_told_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(function: Callable[..., Any], **_: Any) -> Callable[..., NoReturn]:
        def call(*_: Any) -> NoReturn:
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore lines")

        return call

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(InputError, match=r"train\.compile does not work here .*No working") as told:
        accelerator_for(Train(compile=True))
    assert "\n" not in str(told.value)
    accelerator_for(Train())


def test_it_has_a_folder_of_its_own_and_other_runs_keep_theirs() -> None:
    other = replace(RECIPE, train=replace(RECIPE.train, compile=True))
    assert folder_name(other, MADE) != folder_name(RECIPE, MADE)
    assert "compile" not in RECIPE.decisive()["train"]
