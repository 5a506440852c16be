"""The fully connected autoencoder d-500-500-2000-P of DEC, IDEC, DC-Kmeans, ULHE-DC and the hybrid."""

import itertools
from collections.abc import Sequence
from functools import partial

from torch import nn

ACTIVATIONS = {"relu": partial(nn.ReLU, inplace=True), "sigmoid": nn.Sigmoid}


def layers(
    n_features: int, hidden: Sequence[int], n_embedding: int, batch_norm: bool, activation: str = "relu"
) -> tuple[nn.Sequential, ...]:
    """Return (encoder, decoder), mirror images of each other.

    `relu` stands between layers, nothing after the code and after the reconstruction (DEC, Section 3.2: the code keeps
    its full information, and the data may be of any sign). `sigmoid` follows every layer, code and reconstruction too,
    as in DC-Kmeans' released code: codes lie in (0, 1), and the data must lie in [0, 1]. BatchNorm, where asked for,
    sits before the activation of hidden layers.
    """
    sizes = [n_features, *hidden, n_embedding]
    return _stack(sizes, batch_norm, activation), _stack(sizes[::-1], batch_norm, activation)


def _stack(sizes: Sequence[int], batch_norm: bool, activation: str) -> nn.Sequential:
    modules: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        modules.append(nn.Linear(n_in, n_out))
        hidden = i < len(sizes) - 2
        modules += [nn.BatchNorm1d(n_out)] * (batch_norm and hidden)
        modules += [ACTIVATIONS[activation]()] * (hidden or activation == "sigmoid")  # type: ignore[operator]
    return nn.Sequential(*modules)
