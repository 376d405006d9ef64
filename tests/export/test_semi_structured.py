"""2:4 linear layers: which weights have the pattern; on a GPU, that torch's kernels give the masked model's outputs."""

import pytest
import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.export.measure import measured
from transfer.export.semi_structured import semi_structured, two_of_four
from transfer.export.variants import variants


def paired(outputs: int, inputs: int) -> Tensor:
    """Return a weight with two of each four inputs."""
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(0))
    return weight * torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(inputs // 4)


def test_the_pattern_is_found() -> None:
    weight = paired(64, 128)
    assert two_of_four(weight)
    weight[3, 5] = 1.0
    assert not two_of_four(weight)
    assert not two_of_four(paired(10, 128))
    assert not two_of_four(paired(64, 68))


def test_a_model_without_the_pattern_is_refused() -> None:
    with pytest.raises(InputError, match="no linear layer has a 2:4 pattern"):
        semi_structured(nn.Sequential(nn.Linear(128, 64), nn.Conv2d(64, 64, 1)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_outputs_are_the_masked_models() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 512), nn.ReLU(), nn.Linear(512, 128)).eval()
    for layer in (model[1], model[3]):
        assert isinstance(layer, nn.Linear)
        layer.weight.data = paired(*layer.weight.shape) / layer.in_features**0.5
    images = torch.randn(64, 3, 16, 16).cuda().half()
    rows = measured(variants(model, images), images)
    assert [(row.form, row.note) for row in rows] == [(name, "") for name in ("dense", "masked", "compact", "2:4")]
