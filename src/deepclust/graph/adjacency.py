"""Checks of a graph: a symmetric matrix of edge weights, in whatever form it comes."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from deepclust.errors import UserError, refuse_masked


def edge_weights(graph: Any, n_samples: int, name: str = "graph") -> sp.csr_matrix:
    """Return a graph's edge weights (N, N) in float64, for any sparse matrix or array of SciPy's, or a dense one.

    Duplicate entries are added, zeros are no edges, columns ascend. The graph itself is left alone.

    Raises
    ------
    UserError
        If it is no matrix of real numbers, not of N = `n_samples` nodes, or not what `check_weights` asks for.
    """
    refuse_masked(name, graph)
    try:
        matrix: Any = graph if sp.issparse(graph) else np.asarray(graph)
    except (TypeError, ValueError):  # lists of different lengths, tensors on another device
        matrix = np.array(None)
    if matrix.dtype.kind not in "fiub" or matrix.ndim != 2:
        what = f"{matrix.dtype} of shape {matrix.shape}" if matrix.ndim else type(graph).__name__
        raise UserError(f"{name} must be a sparse or dense matrix of edge weights, got {what}")
    if matrix.shape != (n_samples, n_samples):
        raise UserError(
            f"{name} must have shape (N, N) = ({n_samples}, {n_samples}), a node for each sample, got {matrix.shape}; "
            "make it from the same samples, in their order"
        )
    W = sp.csr_matrix(matrix, dtype=np.float64, copy=True)
    W.sum_duplicates()
    W.eliminate_zeros()
    check_weights(W, name)
    return W


def check_weights(W: sp.csr_matrix, name: str = "W") -> None:
    """Raise UserError unless W is symmetric, its stored entries finite and > 0, and its diagonal empty."""
    if W.ndim != 2 or W.shape[0] != W.shape[1]:
        raise UserError(f"{name} must be square, got shape {W.shape}; make it with gaussian_weights")
    if len(others := W.data[~(np.isfinite(W.data) & (W.data > 0))]):
        raise UserError(
            f"{name} must store finite weights > 0, got {others[0]}; drop such edges, those of 0 by eliminate_zeros()"
        )
    if W.diagonal().any():
        raise UserError(f"{name} must have an empty diagonal, got self edges; remove them with setdiag(0)")
    if np.any((W - W.T).data):
        raise UserError(f"{name} must be symmetric, got w_ij != w_ji; symmetrize it first, as gaussian_weights does")
    if not np.isfinite(W @ np.ones(W.shape[0])).all():
        raise UserError(f"{name} must have weights of finite sums, got inf for a node; divide them by their largest")
