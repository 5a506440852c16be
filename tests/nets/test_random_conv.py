"""PC-X's convolutional network: the layers of its paper, sizes of any parity retraced."""

import math

import pytest
import torch
from torch import nn

from deepclust.errors import NotApplicable
from tests.networks import network_of

SETTINGS = {"network": "random_conv"}


def stacks(activation: str = "relu") -> tuple[nn.Sequential, nn.Sequential]:
    return network_of(SETTINGS | {"activation": activation}).layers(784, (1, 28, 28))


def convolutions(stack: nn.Sequential) -> list[tuple[int, ...]]:
    """Return channels in and out, kernel, stride and padding of each convolution."""
    found = [layer for layer in stack if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    return [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], int(c.padding[0])) for c in found]


def dense(stack: nn.Sequential) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in stack if isinstance(layer, nn.Linear)]


def test_layers_are_those_of_the_paper_and_their_mirror() -> None:
    encoder, decoder = stacks()
    assert convolutions(encoder) == [(1, 16, 3, 1, 1), (16, 32, 3, 2, 1), (32, 32, 3, 1, 1), (32, 16, 3, 2, 1)]
    assert convolutions(decoder) == [(16, 32, 3, 2, 1), (32, 32, 3, 1, 1), (32, 16, 3, 2, 1), (16, 1, 3, 1, 1)]
    assert dense(encoder) == [(16 * 7 * 7, 256), (256, 10)]
    assert dense(decoder) == [(10, 256), (256, 16 * 7 * 7)]


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU)])
def test_batch_norm_and_activation_follow_all_but_the_last_layers(activation: str, kind: type[nn.Module]) -> None:
    encoder, decoder = ([type(layer) for layer in stack] for stack in stacks(activation))
    between = [nn.BatchNorm2d, kind]
    assert encoder == [nn.Unflatten, *[nn.Conv2d, *between] * 4, nn.Flatten, nn.Linear, kind, nn.Linear]
    start = [nn.Linear, kind] * 2
    assert decoder == [*start, nn.Unflatten, *[nn.ConvTranspose2d, *between] * 3, nn.ConvTranspose2d, nn.Flatten]


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 16, 16), (1, 32, 32), (1, 8, 8), (3, 55, 55), (2, 17, 1)], ids=str)
def test_images_of_any_size_are_halved_twice_and_restored(shape: tuple[int, int, int]) -> None:
    network = network_of(SETTINGS | {"n_embedding": 3}).build(math.prod(shape), shape, torch.Generator().manual_seed(0))
    x = torch.rand(2, math.prod(shape), generator=torch.Generator().manual_seed(1))
    code, reconstruction = network(x)
    assert code.shape == (2, 3)
    assert reconstruction.shape == x.shape
    assert dense(network.encoder)[0][0] == 16 * math.ceil(shape[1] / 4) * math.ceil(shape[2] / 4)


def test_data_without_an_image_shape_are_refused() -> None:
    with pytest.raises(NotApplicable, match="needs images"):
        network_of(SETTINGS).build(64, None, torch.Generator())
