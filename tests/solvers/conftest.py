"""Codes of real data, and where they find their neighbours."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from deepclust.graph.knn import knn_graph

N, K = 90, 6


@pytest.fixture(scope="session")
def H() -> Tensor:
    """Codes (90, 5), float64, of digits by a random layer."""
    rng = np.random.default_rng(0)
    X = load_digits().data[:N] / 16
    return torch.from_numpy(np.tanh(X @ rng.normal(scale=0.2, size=(X.shape[1], 5))))


@pytest.fixture(scope="session")
def support() -> Tensor:
    """Their 6 nearest neighbours in the space of the images."""
    graph = knn_graph(load_digits().data[:N].astype(np.float32), K)
    return torch.from_numpy(graph.indices.reshape(N, K).astype(np.int64))


@pytest.fixture(scope="session")
def scale(H: Tensor) -> float:
    """The mean squared norm of the codes, which alpha is relative to."""
    return H.square().sum(dim=1).mean().item()
