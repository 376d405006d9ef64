"""docs/python.md works as it stands (with fewer epochs), and lists what the packages export."""

import re
from pathlib import Path

import pytest

import transfer

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
IMPORTS, CLASSIFICATION, SEGMENTATION, LOOP = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def told(*parts: str) -> None:
    code = "".join(parts)
    exec(compile(code.replace("epochs=3", "epochs=1").replace("size=32", "size=12"), "python.md", "exec"), {})


@pytest.mark.slow
def test_classification_and_a_loop_of_your_own(capsys: pytest.CaptureFixture[str]) -> None:
    weights = "dict(setup.model.named_parameters())"
    held = f"assert all(not {weights}[name].detach()[~mask].any() for name, mask in masks.items())"
    told(IMPORTS, CLASSIFICATION, LOOP, held)
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_segmentation(capsys: pytest.CaptureFixture[str]) -> None:
    told(IMPORTS, 'backbone = checkpoints.load("embedded")\n', SEGMENTATION)
    assert 0 < float(capsys.readouterr().out) < 1


def test_every_name_of_the_face_is_there_and_on_the_page() -> None:
    for name in transfer.__all__:
        assert getattr(transfer, name) is not None
        if name != "__version__":
            assert re.search(rf"\b{name}\b", PAGE), name


@pytest.mark.parametrize(
    ("call", "name", "says"),
    [("classification", "voc-sample", "use segmentation"), ("segmentation", "digits", "use classification")],
)
def test_data_of_another_task_are_refused(call: str, name: str, says: str) -> None:
    import checkpoints

    with pytest.raises(transfer.InputError, match=says):
        getattr(transfer, call)(checkpoints.load("embedded"), transfer.data.load(name))
