"""The fully connected autoencoder d-500-500-2000-P of DEC, IDEC, DC-Kmeans, ULHE-DC and the hybrid."""

import itertools
from collections.abc import Sequence

from torch import nn


def layers(n_features: int, hidden: Sequence[int], n_embedding: int, batch_norm: bool) -> tuple[nn.Sequential, ...]:
    """Return (encoder, decoder), mirror images of each other.

    ReLU between layers, nothing after the code and after the reconstruction (DEC, Section 3.2: the code keeps its
    full information, and the data may be of any sign); BatchNorm, where asked for, sits before each ReLU.
    """
    sizes = [n_features, *hidden, n_embedding]
    return _stack(sizes, batch_norm), _stack(sizes[::-1], batch_norm)


def _stack(sizes: Sequence[int], batch_norm: bool) -> nn.Sequential:
    modules: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        modules.append(nn.Linear(n_in, n_out))
        if i < len(sizes) - 2:
            modules += [nn.BatchNorm1d(n_out)] * batch_norm + [nn.ReLU()]
    return nn.Sequential(*modules)
