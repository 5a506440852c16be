"""The convolutional autoencoder: sizes are retraced for sides of any parity, and what cannot work says so."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepclust.errors import NotApplicable
from deepclust.nets._autoencoder import Autoencoder
from tests.networks import network_of

CHANNELS = (4, 5, 6, 7)
SHAPES = [(1, 8, 8), (1, 16, 16), (1, 28, 28), (3, 32, 32), (1, 17, 20), (3, 9, 31)]


def autoencoder(shape: tuple[int, int, int], depth: int = 4, **given: Any) -> Autoencoder:
    settings = network_of({"network": "conv", "channels": CHANNELS[:depth], "n_embedding": 3, **given})
    return settings.build(math.prod(shape), shape, torch.Generator().manual_seed(0))


def layers(shape: tuple[int, int, int], channels: tuple[int, ...]) -> None:
    network_of({"network": "conv", "channels": channels}).layers(math.prod(shape), shape)


def images(count: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.rand(count, math.prod(shape), generator=torch.Generator().manual_seed(1))


def image_sizes(stack: nn.Sequential, x: Tensor) -> list[tuple[int, ...]]:
    """Return (channels, height, width) of every image met on the way, repetitions merged."""
    sizes: list[tuple[int, ...]] = []
    for layer in stack:
        x = layer(x)
        if x.ndim == 4 and (not sizes or sizes[-1] != tuple(x.shape[1:])):
            sizes.append(tuple(x.shape[1:]))
    return sizes


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_reconstruction_has_the_size_of_the_image(shape: tuple[int, int, int], depth: int) -> None:
    network = autoencoder(shape, depth=depth)
    x = images(3, shape)
    code, reconstruction = network(x)
    assert code.shape == (3, 3)
    assert reconstruction.shape == x.shape


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decoder_retraces_the_sizes_of_the_encoder(shape: tuple[int, int, int]) -> None:
    network = autoencoder(shape)
    _, height, width = shape
    x = images(2, shape)
    down, up = image_sizes(network.encoder, x), image_sizes(network.decoder, network.encode(x))
    sides = [(height, width), (height // 2, width // 2), (height // 4, width // 4), (height // 8, width // 8)]
    assert down[0] == up[-1] == shape
    assert list(dict.fromkeys(s[1:] for s in down)) == list(dict.fromkeys(sides))
    # what a layer of the decoder makes has the size that the layer of the encoder it mirrors was given
    given = [shape, *((c, *side) for c, side in zip(CHANNELS, sides[1:], strict=False))]
    assert up == [(7, *sides[3]), *reversed(given)]


@pytest.mark.parametrize(
    ("shape", "lowest"),
    [
        ((1, 28, 28), (1, 1)),
        ((3, 55, 55), (4, 4)),
        ((1, 24, 29), (1, 1)),
        ((1, 27, 47), (1, 3)),
        ((1, 16, 16), (2, 2)),
        ((1, 24, 8), (3, 1)),
    ],
    ids=str,
)
def test_without_padding_sides_that_are_no_multiple_of_eight_lose_two(
    shape: tuple[int, int, int], lowest: tuple[int, int]
) -> None:
    network, padded = autoencoder(shape, padding="valid"), autoencoder(shape)
    x = images(2, shape)
    down, up = image_sizes(network.encoder, x), image_sizes(network.decoder, network.encode(x))
    assert down[-1] == up[0] == (7, *lowest)
    assert down[:-1] == image_sizes(padded.encoder, x)[: len(down) - 1]
    assert up[1:] == image_sizes(padded.decoder, padded.encode(x))[1:]
    assert up[-1] == shape


def test_the_last_transposed_convolution_is_the_adjoint_of_the_last_convolution() -> None:
    network = autoencoder((1, 28, 28), padding="valid")
    (*_, down), (up, *_) = (
        [layer for layer in stack if isinstance(layer, kind)]
        for stack, kind in ((network.encoder, nn.Conv2d), (network.decoder, nn.ConvTranspose2d))
    )
    x, y = images(2, (6, 3, 3)).view(2, 6, 3, 3), images(2, (7, 1, 1)).view(2, 7, 1, 1)
    with torch.no_grad():
        up.weight.copy_(down.weight)  # biases start at zero
        assert (down(x) * y).sum().item() == pytest.approx((x * up(y)).sum().item(), rel=1e-4)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_batch_norm_follows_each_relu_between_convolutions(batch_norm: bool) -> None:
    norm = [nn.BatchNorm2d] * batch_norm
    network = autoencoder((1, 16, 16), depth=2, batch_norm=batch_norm)
    encoder, decoder = ([type(layer) for layer in stack] for stack in (network.encoder, network.decoder))
    convolution = [nn.Conv2d, nn.ReLU, *norm]
    assert encoder == [nn.Unflatten, *convolution, nn.MaxPool2d, *convolution, nn.Flatten, nn.Linear]
    start = [nn.Linear, nn.ReLU, nn.Unflatten]
    assert decoder == [*start, nn.ConvTranspose2d, nn.ReLU, *norm, nn.ConvTranspose2d, nn.Flatten]


def test_code_and_reconstruction_take_both_signs() -> None:
    for output in autoencoder((1, 16, 16))(images(64, (1, 16, 16))):
        assert (output < 0).any()
        assert (output > 0).any()


def test_smallest_side_is_two_to_the_number_of_poolings() -> None:
    layers((1, 8, 30), (4, 4, 4, 4))
    with pytest.raises(NotApplicable, match=r"images of 7 x 30 are too small for 4 .*at least 8; shorten `channels`"):
        layers((1, 7, 30), (4, 4, 4, 4))
    with pytest.raises(NotApplicable, match=r"images of 30 x 3 are too small for 3 .*at least 4"):
        layers((1, 30, 3), (4, 4, 4))
    autoencoder((1, 24, 26), padding="valid")
    with pytest.raises(
        NotApplicable, match=r"images of 40 x 23 are .* without padding: each side must be at least 24; use"
    ):
        autoencoder((1, 40, 23), padding="valid")


def test_data_without_an_image_shape_are_refused() -> None:
    with pytest.raises(NotApplicable, match="reads samples, and this data set is a graph alone"):
        network_of({"network": "mlp"}).build(0, None, torch.Generator())
    with pytest.raises(NotApplicable, match="needs images"):
        network_of({"network": "conv"}).build(64, None, torch.Generator())
