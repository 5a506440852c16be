"""Initial weights: their law, and that the given generator alone decides them."""

import numpy as np
import pytest
import torch
from torch import nn

from deepclust.nets._init import initialise
from deepclust.nets.base import Network
from tests.networks import network_of

NETWORKS = [
    (network_of({"hidden": [20, 30], "n_embedding": 3, "batch_norm": True}), None),
    (network_of({"network": "conv", "channels": [4, 5], "n_embedding": 3}), (1, 8, 8)),
]


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(300, 200), 300),
        (nn.Conv2d(32, 64, 3), 32 * 9),
        (nn.ConvTranspose2d(64, 32, 3), 64 * 9),
        (nn.ConvTranspose2d(16, 128, 5, stride=2), 16 * 25),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_weights_are_uniform_with_variance_a_third_of_one_over_fan_in(layer: nn.Linear, fan_in: int) -> None:
    initialise(layer, torch.Generator().manual_seed(0))
    weights = layer.weight.detach().double()
    bound = fan_in**-0.5
    assert 0.99 * bound < weights.abs().max() <= bound * (1 + 1e-6)
    # relative standard errors of the variance and of the mean of n uniform draws: sqrt(0.8 / n) and 1 / sqrt(n)
    n = weights.numel()
    assert weights.var().item() == pytest.approx(1 / (3 * fan_in), rel=5 * (0.8 / n) ** 0.5)
    assert abs(weights.mean().item()) < 5 * weights.std().item() / n**0.5
    assert not layer.bias.any()


@pytest.mark.parametrize(
    ("layer", "fans"),
    [(nn.Linear(300, 200), 500), (nn.Conv2d(32, 64, 3), 96 * 9), (nn.ConvTranspose2d(64, 32, 3), 96 * 9)],
    ids=["linear", "convolution", "transposed"],
)
def test_glorots_weights_are_uniform_with_variance_two_over_the_sum_of_the_fans(layer: nn.Linear, fans: int) -> None:
    initialise(layer, torch.Generator().manual_seed(0), "glorot")
    weights = layer.weight.detach().double()
    assert 0.99 * (6 / fans) ** 0.5 < weights.abs().max() <= (6 / fans) ** 0.5 * (1 + 1e-6)
    assert weights.var().item() == pytest.approx(2 / fans, rel=5 * (0.8 / weights.numel()) ** 0.5)


def test_glorots_bound_is_four_times_as_wide_for_sigmoid_units() -> None:
    bounds = [
        float(
            network_of({"hidden": [50], "initial": "glorot", "activation": activation})
            .build(
                500,
                None,
                torch.Generator().manual_seed(0),
            )
            .state_dict()["encoder.0.weight"]
            .abs()
            .max()
        )
        for activation in ("relu", "sigmoid")
    ]
    assert bounds[1] == pytest.approx(4 * bounds[0])


def test_a_networks_settings_say_its_scheme() -> None:
    weights = {
        scheme: network_of({"hidden": [50], "initial": scheme})
        .build(500, None, torch.Generator().manual_seed(0))
        .state_dict()["encoder.0.weight"]
        for scheme in ("glorot", "fan_in")
    }
    ratio = float(weights["glorot"].abs().max() / weights["fan_in"].abs().max())
    assert ratio == pytest.approx((6 / 550 * 500) ** 0.5, rel=1e-3)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_normalisations_start_as_the_identity(dimensions: int) -> None:
    layer = nn.BatchNorm1d(5) if dimensions == 1 else nn.BatchNorm2d(5)
    assert layer.running_mean is not None
    layer.running_mean.fill_(7)
    initialise(layer, torch.Generator())
    x = torch.randn((6, 5, 3, 3)[: 2 * dimensions], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer.eval()(x), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("settings", "shape"), NETWORKS, ids=["mlp", "conv"])
def test_nothing_is_left_unfilled(settings: Network, shape: tuple[int, int, int] | None) -> None:
    network = settings.build(64, shape, torch.Generator())
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            tensor.fill_(torch.nan if tensor.is_floating_point() else 99)
    initialise(network, torch.Generator())
    for name, tensor in network.state_dict().items():
        assert tensor.isfinite().all(), name
        assert not name.endswith("num_batches_tracked") or tensor == 0, name


@pytest.mark.parametrize(("settings", "shape"), NETWORKS, ids=["mlp", "conv"])
def test_generator_alone_decides_the_weights(settings: Network, shape: tuple[int, int, int] | None) -> None:
    def weights(seed: int) -> dict[str, np.ndarray]:
        network = settings.build(64, shape, torch.Generator().manual_seed(seed))
        return {name: tensor.detach().numpy() for name, tensor in network.named_parameters()}

    before = torch.get_rng_state()
    first, again, other = weights(5), weights(5), weights(6)
    assert torch.equal(torch.get_rng_state(), before)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert all((first[name] != other[name]).any() for name in first if first[name].ndim > 1)
