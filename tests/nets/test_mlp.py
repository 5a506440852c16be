"""The fully connected autoencoder: mirrored layers, and no activation where values of any sign must pass."""

import itertools

import pytest
import torch
from torch import nn

from deepclust.nets._autoencoder import Autoencoder
from tests.networks import network_of


def autoencoder(hidden: tuple[int, ...], n_embedding: int, batch_norm: bool = False) -> Autoencoder:
    settings = network_of({"hidden": hidden, "n_embedding": n_embedding, "batch_norm": batch_norm})
    return settings.build(11, None, torch.Generator().manual_seed(0))


def layers(
    hidden: tuple[int, ...], n_embedding: int, batch_norm: bool, activation: str = "relu"
) -> tuple[nn.Sequential, ...]:
    settings = {"hidden": hidden, "n_embedding": n_embedding, "batch_norm": batch_norm, "activation": activation}
    return network_of(settings).layers(11, None)


def linear_sizes(stack: nn.Sequential) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in stack if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(("hidden", "n_embedding"), [((7,), 3), ((7, 5), 2), ((20, 20, 80), 10)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_decoder_mirrors_the_encoder(hidden: tuple[int, ...], n_embedding: int, batch_norm: bool) -> None:
    encoder, decoder = layers(hidden, n_embedding, batch_norm)
    sizes = [11, *hidden, n_embedding]
    assert linear_sizes(encoder) == list(itertools.pairwise(sizes))
    assert linear_sizes(decoder) == [(n_out, n_in) for n_in, n_out in reversed(linear_sizes(encoder))]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("activation", "kind"), [("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU), ("sigmoid", nn.Sigmoid)]
)
def test_batch_norm_sits_between_each_hidden_layer_and_its_activation(
    batch_norm: bool, activation: str, kind: type[nn.Module]
) -> None:
    hidden = [nn.Linear, nn.BatchNorm1d, kind] if batch_norm else [nn.Linear, kind]
    last = [nn.Linear, nn.Sigmoid] if activation == "sigmoid" else [nn.Linear]
    for stack in layers((7, 5), 2, batch_norm, activation):
        assert [type(layer) for layer in stack] == [*hidden, *hidden, *last]


def test_forward_returns_code_and_reconstruction() -> None:
    network = autoencoder((7, 5), 3)
    x = torch.randn(4, 11, generator=torch.Generator().manual_seed(1))
    code, reconstruction = network(x)
    assert code.shape == (4, 3)
    assert reconstruction.shape == x.shape
    assert torch.equal(code, network.encode(x))
    assert torch.equal(reconstruction, network.decode(code))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_code_and_reconstruction_take_both_signs(batch_norm: bool) -> None:
    network = autoencoder((20, 20), 3, batch_norm)
    x = torch.randn(200, 11, generator=torch.Generator().manual_seed(1))
    for output in network(x):
        assert (output < 0).any()
        assert (output > 0).any()
