"""Laplacians: the algebra that defines them."""

import numpy as np
import pytest
import scipy.sparse as sp

from deepclust.errors import UserError
from deepclust.graph.knn import knn_graph
from deepclust.graph.laplacian import laplacian
from deepclust.graph.weights import gaussian_weights
from tests.references import graph as reference


def blobs(sizes: list[int], k: int = 3) -> sp.csr_matrix:
    """Return the weights of a graph whose connected components have the given sizes; 1 is an isolated node."""
    rng = np.random.default_rng(sum(sizes))
    parts = [
        gaussian_weights(knn_graph(rng.normal(size=(n, 2)), n - 1 if n <= k else max(k, n // 2)), bandwidth="local")
        if n > 1
        else sp.csr_matrix((1, 1))
        for n in sizes
    ]
    W = sp.csr_matrix(sp.block_diag(parts))
    order = rng.permutation(W.shape[0])
    return sp.csr_matrix(W[order][:, order])


SIZES = [[2], [30], [20, 10], [7, 1, 7, 1, 3], [1, 1, 1], [1]]


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_laplacian_is_symmetric_and_psd_with_a_zero_for_every_component(sizes: list[int], normalized: bool) -> None:
    W = blobs(sizes)
    L = laplacian(W, normalized=normalized)
    dense = L.toarray()
    assert L.dtype == np.float64
    assert L.has_canonical_format
    assert np.array_equal(dense, dense.T)
    values = np.linalg.eigvalsh(dense)
    assert values.min() > -1e-12
    assert (np.abs(values) < 1e-10).sum() == len(sizes)
    if normalized:
        assert values.max() < 2 + 1e-12
        degrees = np.asarray(W.sum(axis=1)).ravel()
        np.testing.assert_allclose(dense @ np.sqrt(degrees), 0, atol=1e-12)
    else:
        np.testing.assert_allclose(dense.sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("p", [1, 5])
def test_trace_form_is_the_sum_over_edges(sizes: list[int], p: int, normalized: bool) -> None:
    W = blobs(sizes)
    H = np.random.default_rng(p).normal(size=(W.shape[0], p))
    trace = np.trace(H.T @ (laplacian(W, normalized=normalized) @ H))
    assert trace == pytest.approx(reference.smoothness(W.toarray(), H, normalized), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("normalized", [True, False])
def test_isolated_nodes_have_zero_rows(normalized: bool) -> None:
    W = blobs([5, 1, 4])
    isolated = np.diff(W.indptr) == 0
    L = laplacian(W, normalized=normalized)
    assert isolated.sum() == 1
    assert (np.diff(L.indptr)[isolated] == 0).all()
    assert (L.diagonal()[~isolated] > 0).all()


@pytest.mark.parametrize("normalized", [True, False])
def test_weights_at_the_edge_of_underflow_keep_the_laplacian_finite(normalized: bool) -> None:
    tiny = np.finfo(np.float64).tiny
    W = sp.csr_matrix(np.array([[0, tiny, 0], [tiny, 0, 1], [0, 1, 0]]))
    L = laplacian(W, normalized=normalized).toarray()
    assert np.isfinite(L).all()
    assert L[0, 1] < 0


def test_input_is_left_alone() -> None:
    W = blobs([10])
    before = W.copy()
    laplacian(W)
    laplacian(W, normalized=False)
    assert np.array_equal(W.data, before.data)
    assert np.array_equal(W.indices, before.indices)


def test_stored_zeros_are_refused() -> None:
    W = sp.csr_matrix(([0.0, 0.0], ([0, 1], [1, 0])), shape=(2, 2))
    with pytest.raises(UserError, match="eliminate_zeros"):
        laplacian(W)


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.ones((2, 3)), "square"),
        (np.array([[0, -1.0], [-1, 0]]), "> 0"),
        (np.array([[0, np.nan], [np.nan, 0]]), "finite"),
        (np.eye(2), "empty diagonal"),
        (np.array([[0, 1.0], [2, 0]]), "symmetric"),
        (np.array([[0, 1.0], [0, 0]]), "symmetric"),
    ],
)
def test_matrices_that_are_no_weights_are_refused(W: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        laplacian(sp.csr_matrix(W))
