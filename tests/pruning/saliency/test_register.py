"""A method of one's own: the code of docs/adding_a_method.md, as it stands, and the laws of the registry."""

import re
from pathlib import Path

import pytest
import torch

from checkpoints.errors import InputError
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import default_rounds, methods, prune, register, saliency, score

PAGE = Path(__file__).parents[3] / "docs" / "adding_a_method.md"


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(saliency, "_METHODS", dict(saliency._METHODS))


def test_the_method_of_the_page(registry):
    exec(compile(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S).group(1), str(PAGE), "exec"), {})
    assert "snip-abs" in methods()
    model, batches = randomised(TinyVgg()), [images((3, 8, 8), 4, seed) for seed in range(2)]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    one, two = score("snip-abs", model, batches), score("snip-abs", model, batches, power=2.0)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert any(not torch.equal(one[n], two[n]) for n in one)
    single = score("snip", model, batches[:1])
    for name, values in score("snip-abs", model, batches[:1]).items():
        torch.testing.assert_close(values, single[name], rtol=1e-5, atol=1e-8)
    masks = prune(model, batches, method="snip-abs", sparsity=0.8, power=2.0)
    assert masks.kept == masks.total - int(0.8 * masks.total + 0.5)
    with pytest.raises(InputError, match="no targets"):
        score("snip-abs", model, [batches[0][0]])


def test_names_rounds_and_shapes_are_checked(registry):
    register("mine", lambda problem: dict(problem.weights), rounds=7)
    assert default_rounds("mine") == 7
    with pytest.raises(InputError, match="there is a method 'px' already"):
        register("px", lambda problem: {})
    register("short", lambda problem: {})
    register("flat", lambda problem: {name: w.flatten() for name, w in problem.weights.items()})
    for name in ("short", "flat"):
        with pytest.raises(InputError, match=rf"method '{name}' gave no score of the shape"):
            score(name, TinyVgg(), [images((3, 8, 8), 2)])
