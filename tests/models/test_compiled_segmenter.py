"""Under torch.compile a segmenter says what is wrong with a batch in the same words."""

import pytest
import torch

import checkpoints
from checkpoints import InputError
from transfer.models import segmenter


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # torch's compiler
def test_the_errors_are_those_of_the_model_itself() -> None:
    torch.compiler.reset()
    model = torch.compile(segmenter(checkpoints.load("random:resnet18"), 3).train(), backend="eager", dynamic=False)
    with pytest.raises(InputError, match="a training batch has 1 image"):
        model(torch.zeros(1, 3, 64, 64))
    with pytest.raises(InputError, match="images are 64×65 px"):
        model(torch.zeros(2, 3, 64, 65))
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3, 64, 64)
