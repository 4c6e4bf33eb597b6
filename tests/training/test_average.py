"""The average is that of its formula, and swapping it in leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tests.training.shards import network
from training.average import Average, AverageConfig


@pytest.fixture
def module() -> Iterator[nn.Module]:
    module = network(torch.float64)
    module[0].bias.requires_grad_(False)
    yield module


def moved(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(torch.randn(value.shape, generator=generator, dtype=value.dtype))


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def test_the_first_steps_forget_more() -> None:
    config = AverageConfig(decay=0.9, warmup=10)
    assert [config.decay_at(step) for step in (0, 1, 40, 80, 81, 1000)] == [0.1, 2 / 11, 41 / 50, 0.9, 0.9, 0.9]
    assert AverageConfig(decay=0.9, warmup=1).decay_at(0) == 0.9


@pytest.mark.parametrize("wrong", [{"decay": 1.0}, {"decay": -0.1}, {"warmup": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AverageConfig.model_validate(wrong)


def test_it_is_the_weighted_sum_of_all_weights_that_were(module: nn.Module) -> None:
    config = AverageConfig(decay=0.5, warmup=3)
    average = Average(module, config)
    history, shares = [weights(module)], [1.0]
    for step in range(6):
        moved(module, step)
        average.update(step)
        decay = config.decay_at(step)
        history.append(weights(module))
        shares = [share * decay for share in shares] + [1 - decay]
    assert sum(shares) == pytest.approx(1)
    assert average.tensors().keys() == history[0].keys() - {"0.bias"}
    for name, value in average.tensors().items():
        expected = sum(share * then[name] for share, then in zip(shares, history, strict=True))
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_without_decay_it_is_the_weights(module: nn.Module) -> None:
    average = Average(module, AverageConfig(decay=0.0))
    moved(module, 0)
    average.update(0)
    assert all(torch.equal(value, module.get_parameter(name)) for name, value in average.tensors().items())


def test_the_average_is_in_the_module_and_then_is_not(module: nn.Module) -> None:
    average = Average(module, AverageConfig())
    for step in range(3):
        moved(module, step)
        average.update(step)
    own = weights(module)
    kept = {name: value.clone() for name, value in average.tensors().items()}
    storages = [value.data_ptr() for value in module.parameters()]
    with average.swapped():
        assert all(torch.equal(module.get_parameter(name), value) for name, value in kept.items())
        assert torch.equal(module.get_parameter("0.bias"), own["0.bias"])
        assert [value.data_ptr() for value in module.parameters()] == storages
    assert all(torch.equal(module.get_parameter(name), value) for name, value in own.items())
    assert all(torch.equal(average.tensors()[name], value) for name, value in kept.items())


def test_an_error_inside_brings_the_weights_back(module: nn.Module) -> None:
    average = Average(module, AverageConfig())
    moved(module, 0)
    own = weights(module)
    with pytest.raises(KeyError), average.swapped():
        raise KeyError
    assert all(torch.equal(module.get_parameter(name), value) for name, value in own.items())


def test_what_is_loaded_into_it_is_gone_on_with(module: nn.Module) -> None:
    one, other = (Average(module, AverageConfig()) for _ in range(2))
    moved(module, 0)
    one.update(0)
    for name, value in other.tensors().items():
        value.copy_(one.tensors()[name])
    moved(module, 1)
    for average in (one, other):
        average.update(1)
    assert all(torch.equal(value, other.tensors()[name]) for name, value in one.tensors().items())
