import importlib.util
from pathlib import Path

import pytest

from checkpoints.errors import InputError
from transfer.export import forms


def test_every_form_has_a_file_of_its_own() -> None:
    files = [form.file for form in forms.FORMS.values()]
    assert len(set(files)) == len(files)
    assert all(Path(file).suffix in (".safetensors", ".pt2", ".onnx") for file in files)


def test_an_unknown_form_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^unknown form 'onxx'; did you mean onnx\?$"):
        forms.find("onxx")


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(forms, "find_spec", lambda name: None if name.startswith("onnx") else real(name))
    with pytest.raises(InputError, match=r"^the form onnx needs onnx, onnxscript, onnxruntime, not inst.*\[onnx\]"):
        forms.find("onnx")
    assert forms.find("pt2").file == "model.pt2"
