"""Seeds of a key: the values that finished runs were made with."""

import torch

from transfer.data.sampler import generator
from transfer.seeds import seed_of


def test_a_key_has_the_seed_that_it_always_had() -> None:
    assert seed_of("order", 0, 3) == 6892587185186144
    assert seed_of(0, 1, 2, 0) == 13076567544562146  # of a training step: seed, epoch, step, process
    assert seed_of("1") != seed_of(1)


def test_a_generator_is_seeded_by_its_key() -> None:
    own = torch.rand(3, generator=generator("order", 0, 3))
    assert torch.equal(own, torch.rand(3, generator=torch.Generator().manual_seed(seed_of("order", 0, 3))))
    assert not torch.equal(own, torch.rand(3, generator=generator("order", 0, 4)))
