"""Graph Laplacians."""

import numpy as np
import scipy.sparse as sp

from deepclust.graph.adjacency import check_weights


def laplacian(W: sp.csr_matrix, *, normalized: bool = True) -> sp.csr_matrix:
    """Return the Laplacian of a weighted graph: D^-1/2 (D - W) D^-1/2, or D - W; D holds the row sums of W.

    Both are symmetric and positive semi-definite, with a zero eigenvalue for every connected component and a zero row
    for an isolated node. With columns h_i of H' (one per sample), each pair of samples counted once,

        Tr(H' L H) = sum over i < j of w_ij ||h_i - h_j||^2                              for D - W,
        Tr(H' L H) = sum over i < j of w_ij ||h_i / sqrt(D_ii) - h_j / sqrt(D_jj)||^2    normalised.

    Both are sums over edges (not means) of squared distances. The normalised spectrum lies in [0, 2].

    Parameters
    ----------
    W : csr_matrix of shape (N, N), symmetric, of weights > 0 where stored, with an empty diagonal
    normalized : bool

    Returns
    -------
    csr_matrix of shape (N, N), float64, columns ascending; the diagonal is stored except for isolated nodes

    Raises
    ------
    UserError
        If W is not a graph's weight matrix.

    Notes
    -----
    Belkin and Niyogi, "Laplacian eigenmaps for dimensionality reduction and data representation", 2003 (D - W);
    Chung, "Spectral graph theory", 1997, section 1.2 (normalised, and isolated nodes).
    """
    degrees, scaled = scaled_weights(W) if normalized else (weighted_degrees(W), W.astype(np.float64))
    diagonal = (degrees > 0).astype(np.float64) if normalized else degrees
    L = sp.csr_matrix(sp.diags_array(diagonal) - scaled)
    L.sort_indices()
    return L


def weighted_degrees(W: sp.csr_matrix) -> np.ndarray:
    """Return the row sums (N,) of W in float64, after checking that W is a graph's weight matrix."""
    check_weights(W)
    return np.asarray(W.sum(axis=1, dtype=np.float64)).ravel()


def scaled_weights(W: sp.csr_matrix) -> tuple[np.ndarray, sp.csr_matrix]:
    """Return the weighted degrees (N,) and D^-1/2 W D^-1/2, in float64 and exactly symmetric."""
    degrees = weighted_degrees(W)
    roots = np.sqrt(degrees)
    rows = np.repeat(np.arange(len(roots)), np.diff(W.indptr))
    # w / (r r') is exactly symmetric; the rounding of (w / r) / r' depends on which node comes first.
    return degrees, sp.csr_matrix((W.data / (roots[rows] * roots[W.indices]), W.indices, W.indptr), shape=W.shape)
