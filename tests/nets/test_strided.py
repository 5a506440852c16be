"""The convolutional autoencoders of stride 2: sizes as published, retraced for sides of any parity."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from deepclust.errors import NotApplicable, UserError
from deepclust.methods.self_training.idec import IDEC
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.pretrain import pretrain
from tests.networks import network_of

SIDES = {28: (14, 7, 3), 16: (8, 4, 2), 32: (16, 8, 4), 20: (10, 5, 2), 27: (14, 7, 3), 8: (4, 2, 1), 21: (11, 6, 2)}


def build(shape: tuple[int, int, int], **settings: Any) -> Autoencoder:
    network = network_of({"network": "strided", **settings})
    return network.build(math.prod(shape), shape, torch.Generator().manual_seed(0))


def images(count: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.rand(count, math.prod(shape), generator=torch.Generator().manual_seed(1))


def image_sizes(stack: nn.Sequential, x: Tensor) -> list[tuple[int, ...]]:
    """Return (C, H, W) of what each convolution is given, and of what the last one makes."""
    sizes = []
    for layer in stack:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            sizes.append(tuple(x.shape[1:]))
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            last = tuple(x.shape[1:])
    return [*sizes, last]


@pytest.mark.parametrize("height", SIDES)
@pytest.mark.parametrize("width", [28, 21])
def test_sizes_are_those_of_the_released_code_and_are_retraced(height: int, width: int) -> None:
    shape = (2, height, width)
    network = build(shape)
    x = images(3, shape)
    code, reconstruction = network(x)
    assert code.shape == (3, 10)
    assert reconstruction.shape == x.shape
    sides = zip((height, *SIDES[height]), (width, *SIDES[width]), strict=True)
    expected = [(n, *side) for n, side in zip((2, 32, 64, 128), sides, strict=True)]
    assert image_sizes(network.encoder, x) == expected
    assert image_sizes(network.decoder, code) == expected[::-1]


def test_encoder_has_as_many_parameters_as_the_papers() -> None:
    counts = [p.numel() for p in build((1, 28, 28)).encoder.parameters()]
    pairs = [sum(pair) for pair in zip(counts[::2], counts[1::2], strict=True)]
    assert pairs == [832, 51_264, 73_856, 11_530]


def test_relu_follows_all_layers_but_code_and_reconstruction() -> None:
    network = build((1, 16, 16), channels=[4, 5], kernels=[5, 3])
    encoder, decoder = ([type(layer) for layer in stack] for stack in (network.encoder, network.decoder))
    assert encoder == [nn.Unflatten, *[nn.Conv2d, nn.ReLU] * 2, nn.Flatten, nn.Linear]
    up = nn.ConvTranspose2d
    assert decoder == [nn.Linear, nn.ReLU, nn.Unflatten, up, nn.ReLU, up, nn.Flatten]


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(
        NotApplicable, match=r"images of 28 x 4 are too small for 3 convolutions .* of 5, 5, 3; shorten"
    ):
        build((1, 28, 4))
    with pytest.raises(NotApplicable, match="needs images"):
        network_of({"network": "strided"}).build(64, None, torch.Generator())
    with pytest.raises(UserError, match="as many as channels, 2, got 3 and 3; give one a layer"):
        build((1, 28, 28), channels=[4, 5])


def test_dcec_trains_network_and_centroids() -> None:
    X = load_digits().data[:200].astype(np.float32) / 16
    small = {"network": "strided", "channels": [8, 16, 16], "n_embedding": 4, "epochs": 10, "batch_size": 32}
    network, _ = pretrain(torch.from_numpy(X), network_of(small), seed=0, image_shape=(1, 8, 8))
    settings: dict[str, Any] = {"n_init": 2, "random_state": 0, "device": "cpu", "batch_size": 32, "tolerance": 0}
    for augment in (False, True):
        method = IDEC(10, epochs=12, augment=augment, **settings).fit(X, network=network)
        assert method.trace_[-1]["loss"] < 0.95 * method.trace_[0]["loss"]
        np.testing.assert_array_equal(method.predict(X), method.labels_)
        for name in ("encoder.1.weight", "decoder.7.weight"):
            assert not torch.equal(method.network_.state_dict()[name], network.state_dict()[name])
