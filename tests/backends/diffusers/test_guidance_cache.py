"""Guidance taken from the step before: which steps, which arguments, and what comes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cinelet.backends.diffusers.guidance_cache import guidance_cached


class Network(torch.nn.Module):
    """Adds 10 to what has no prompt; keeps the sizes of the batches it saw."""

    def __init__(self, *, as_tuple: bool = True) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.as_tuple = as_tuple

    def forward(self, hidden_states: Any, timestep: Any = None, **_: Any) -> Any:
        self.batches.append(hidden_states.shape[0])
        assert timestep is None or timestep.shape[0] == hidden_states.shape[0]
        batch = hidden_states.shape[0]
        added = 10 * (torch.arange(batch) < batch // 2).reshape(-1, 1)
        out = hidden_states + added
        return (out,) if self.as_tuple else SimpleNamespace(sample=out)


def run(network: Network, steps: int, **named: Any) -> list[torch.Tensor]:
    results = []
    with guidance_cached(network, videos=1, steps=steps) as cache:
        for step in range(steps):
            states = torch.full((2, 3), float(step))
            output = network(hidden_states=states, **named)
            results.append(output[0] if network.as_tuple else output.sample)
    assert network.batches.count(1) == cache.skipped
    assert "forward" not in vars(network)
    return results


@pytest.mark.parametrize("as_tuple", [True, False])
def test_the_first_quarter_and_the_last_step_are_computed_whole_and_every_third_between(as_tuple: bool) -> None:
    network = Network(as_tuple=as_tuple)
    results = run(network, 12, timestep=torch.zeros(2))
    assert network.batches == [2, 2, 2, 1, 1, 2, 1, 1, 2, 1, 1, 2]
    for step, (plain, prompted) in enumerate(results):
        assert plain.tolist() == [step + 10.0] * 3
        assert prompted.tolist() == [float(step)] * 3


def test_a_batch_of_one_is_left_as_it_is() -> None:
    network = Network()
    with guidance_cached(network, videos=1, steps=10) as cache:
        for _ in range(10):
            network(hidden_states=torch.zeros(1, 3))
    assert cache.skipped == 0


def test_an_argument_that_may_be_a_batch_and_is_not_known_keeps_every_step_whole() -> None:
    network = Network()
    run(network, 12, something_new=torch.zeros(2, 5))
    assert set(network.batches) == {2}


def test_a_forward_that_was_replaced_before_is_there_again() -> None:
    network = Network()
    other = network.forward
    setattr(network, "forward", other)  # noqa: B010  (as diffusers does; a method cannot be assigned to)
    with guidance_cached(network, videos=1, steps=4):
        assert vars(network)["forward"] is not other
    assert vars(network)["forward"] is other
