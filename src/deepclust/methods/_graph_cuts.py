"""A graph from features, and eigenvectors and partitions of a graph: shared by methods that cut a graph."""

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from deepclust.errors import UserError
from deepclust.graph.knn import knn_graph
from deepclust.graph.partition import Partition
from deepclust.graph.spectral import smallest_eigenvectors
from deepclust.graph.weights import Bandwidth, gaussian_weights

_RANGE = 1e6  # of the eigenvectors' largest entries: k-means squares and adds them


def neighbour_graph(
    features: np.ndarray | sp.csr_matrix, n_neighbors: int, bandwidth: Bandwidth = "local", device: str | None = None
) -> sp.csr_matrix:
    """Return edge weights (N, N) between each row of features (N, P) and its nearest rows, or all if there are fewer.

    The search runs on `device` where that is a CUDA device, else on the CPU, with the same result.

    Raises UserError for a single sample, which has no neighbour.
    """
    n_samples = features.shape[0]
    if n_samples < 2:
        raise UserError(f"a graph needs at least 2 samples, got n_samples={n_samples}")
    device = device if device is not None and device.startswith("cuda") else None
    knn = knn_graph(features, min(n_neighbors, n_samples - 1), device=device)
    return gaussian_weights(knn, bandwidth=bandwidth)


def ncut_vectors(W: sp.csr_matrix, n_components: int, *, random_state: int) -> np.ndarray:
    """Return the smallest generalised eigenvectors v of L v = lambda D v, (N, n_components); 0 at isolated nodes.

    The relaxed normalised cut: v = D^-1/2 u with u the eigenvectors, of norm 1, of the normalised Laplacian. A v whose
    largest entry is over 1e6 times that of another, where weights of a whole group are next to nothing, is scaled down
    to that.
    """
    vectors = smallest_eigenvectors(W, n_components, random_state=random_state).vectors
    degree = np.asarray(W.sum(axis=1)).ravel()
    vectors = vectors * np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)[:, None]
    largest = np.abs(vectors).max(axis=0)
    most = _RANGE * largest[largest > 0].min(initial=np.inf)
    scaled: np.ndarray = vectors * np.divide(most, largest, out=np.ones_like(largest), where=largest > most)
    return scaled


def candidate_extras(found: Partition) -> dict[str, Any]:
    """Return `candidates`, a table (origin, modularity, normalised cut), and `candidate_labels` (its rows, N) int32."""
    columns = ("origin", "modularity", "normalized_cut")
    return {
        "candidates": pd.DataFrame({name: [getattr(c, name) for c in found.candidates] for name in columns}),
        "candidate_labels": np.stack([c.labels for c in found.candidates]).astype(np.int32),
    }
