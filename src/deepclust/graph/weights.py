"""Gaussian edge weights on a nearest-neighbour graph, and a summary of a graph in numbers."""

from typing import Literal

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from deepclust.errors import UserError

Bandwidth = Literal["median", "local"]

_SMALLEST = np.finfo(np.float64).tiny  # an edge whose weight would underflow keeps this much: it stays an edge


def gaussian_weights(
    knn: sp.csr_matrix, *, bandwidth: Bandwidth = "median", symmetrize: Literal["max", "mean"] = "max"
) -> sp.csr_matrix:
    """Return the symmetric matrix W of edge weights in (0, 1], with an empty diagonal.

    ``median``: w_ij = exp(-d_ij^2 / sigma^2), sigma = `median_scale`. ``local``: w_ij = exp(-d_ij^2 / (s_i s_j)),
    s = `local_scales`. Distances are squared and nothing is halved. Duplicates (d_ij = 0) have weight 1.

    Parameters
    ----------
    knn : csr_matrix of shape (N, N)
        Distances (not squared) of a `knn_graph`: the same number of entries in every row; explicit zeros are edges.
    bandwidth : {"median", "local"}
    symmetrize : {"max", "mean"}
        "max" joins i and j with the full weight if either is a neighbour of the other. "mean" gives half the weight to
        an edge that only one of the two has. Mutual neighbours have the full weight, w_ij = w_ji, in both.

    Returns
    -------
    csr_matrix of shape (N, N), float64 (the Laplacian's small eigenvalues need it), columns ascending

    Raises
    ------
    UserError
        If `bandwidth` or `symmetrize` is unknown, or the rows of `knn` differ in their number of entries.

    Notes
    -----
    Local scaling: Zelnik-Manor and Perona, "Self-tuning spectral clustering", NIPS 2004. The paper's s_i is the
    distance to the 7th neighbour; here s_i is the distance to the last neighbour.
    """
    distances = _distances(knn)
    N, k = distances.shape
    columns = knn.indices.reshape(N, k)
    if bandwidth == "median":
        scales = np.full(N, median_scale(knn))
    elif bandwidth == "local":
        scales = local_scales(knn)
    else:
        raise UserError(f"bandwidth must be 'median' or 'local', got {bandwidth!r}")
    # d^2 / (s s') as (d/s) (d/s'), a symmetric product that does not underflow at small scales.
    exponents = (distances / scales[:, None]) * (distances / scales[columns])
    weights = np.maximum(np.exp(-exponents), _SMALLEST)
    directed = sp.csr_matrix((weights.ravel(), knn.indices, knn.indptr), shape=(N, N))
    if symmetrize == "max":
        W = directed.maximum(directed.T)
    elif symmetrize == "mean":
        W = (directed + directed.T) * 0.5
    else:
        raise UserError(f"symmetrize must be 'max' or 'mean', got {symmetrize!r}")
    W = sp.csr_matrix(W)
    W.sort_indices()
    return W


def median_scale(knn: sp.csr_matrix) -> float:
    """Return the median of the N k distances in a nearest-neighbour graph.

    Every entry counts once: a pair of mutual neighbours counts twice, and the zeros between duplicates count too. If
    the median would be 0, the median of the positive distances is returned; without a positive distance, 1.
    """
    distances = _distances(knn)
    median = float(np.median(distances))
    positive = distances[distances > 0]
    return median or (float(np.median(positive)) if len(positive) else 1.0)


def local_scales(knn: sp.csr_matrix) -> np.ndarray:
    """Return the distance (N,) from each sample to its last neighbour.

    A scale of 0, of a sample with k duplicates, becomes the smallest positive one; if there is none, all are 1.
    """
    scales: np.ndarray = _distances(knn).max(axis=1)
    return np.where(scales > 0, scales, scales[scales > 0].min() if scales.any() else 1.0)


def summary(knn: sp.csr_matrix | None, W: sp.csr_matrix, *, bandwidth: Bandwidth) -> dict[str, int | float | str]:
    """Return the size, components, degrees and scales of a graph as plain numbers.

    Edges are those of W, each pair counted once; a degree is a number of edges, not a sum of weights. The scales are
    the local ones; for bandwidth "median" all three are sigma. A graph that came without distances has no `knn` and no
    scales.
    """
    n_components, component = connected_components(W, directed=False)
    sizes = np.bincount(component)
    degrees = np.diff(W.indptr)
    found: dict[str, int | float | str] = {
        "n": int(W.shape[0]),
        "n_edges": int(W.nnz // 2),
        "n_components": int(n_components),
        "component_size_min": int(sizes.min()),
        "component_size_max": int(sizes.max()),
        "degree_min": int(degrees.min()),
        "degree_median": float(np.median(degrees)),
        "degree_max": int(degrees.max()),
    }
    if knn is None:
        return found
    scales = np.array([median_scale(knn)]) if bandwidth == "median" else local_scales(knn)
    return found | {
        "n_neighbors": _distances(knn).shape[1],
        "bandwidth": bandwidth,
        "scale_min": float(scales.min()),
        "scale_median": float(np.median(scales)),
        "scale_max": float(scales.max()),
    }


def _distances(knn: sp.csr_matrix) -> np.ndarray:
    """Return the entries of a nearest-neighbour graph as float64 (N, k)."""
    counts = np.diff(knn.indptr)
    if knn.shape[0] != knn.shape[1] or counts.min(initial=1) < 1 or (counts != counts[0]).any():
        raise UserError(
            f"knn must be square with the same number (at least 1) of entries in every row, got shape {knn.shape} "
            f"with {counts.min(initial=0)} to {counts.max(initial=0)}; make it with knn_graph"
        )
    return np.asarray(knn.data, dtype=np.float64).reshape(knn.shape[0], -1)
