"""Eigenpairs against a dense decomposition, with and without disconnected components."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from deepclust.errors import SeedFailed, UserError
from deepclust.graph import spectral
from deepclust.graph.knn import knn_graph
from deepclust.graph.laplacian import laplacian
from deepclust.graph.spectral import smallest_eigenvectors
from deepclust.graph.weights import gaussian_weights


@pytest.fixture(scope="module")
def digits() -> sp.csr_matrix:
    return gaussian_weights(knn_graph(load_digits().data[:250], 12), bandwidth="local")


@pytest.fixture(scope="module")
def disconnected(digits: sp.csr_matrix) -> sp.csr_matrix:
    """Components of 250, 60, 60 (a copy: every eigenvalue twice), 2, 1 and 1 nodes, shuffled."""
    blob = gaussian_weights(knn_graph(np.random.default_rng(0).normal(size=(60, 3)), 25))
    pair = sp.csr_matrix(np.array([[0, 0.5], [0.5, 0]]))
    W = sp.csr_matrix(sp.block_diag([digits, blob, blob, pair, sp.csr_matrix((2, 2))]))
    order = np.random.default_rng(1).permutation(W.shape[0])
    return sp.csr_matrix(W[order][:, order])


def assert_smallest(W: sp.csr_matrix, found: spectral.Eigenpairs, count: int) -> None:
    L = laplacian(W).toarray()
    values, vectors = np.linalg.eigh(L)
    assert found.vectors.shape == (len(L), count)
    np.testing.assert_allclose(found.values, np.clip(values[:count], 0, 2), atol=1e-9)
    np.testing.assert_allclose(L @ found.vectors, found.vectors * found.values, atol=1e-8)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(count), atol=1e-8)
    assert (np.diff(found.values) >= -1e-12).all()
    peaks = found.vectors[np.abs(found.vectors).argmax(axis=0), np.arange(count)]
    assert (peaks > 0).all()
    # The same subspace, wherever the spectrum has a gap to end it at.
    if count < len(L) and values[count] - values[count - 1] > 1e-4:
        projector = vectors[:, :count] @ vectors[:, :count].T
        np.testing.assert_allclose(found.vectors @ found.vectors.T, projector, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 10, 40])
def test_arpack_matches_dense_eigh(digits: sp.csr_matrix, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "_DENSE", 0)
    iterated = smallest_eigenvectors(digits, count)
    assert_smallest(digits, iterated, count)
    monkeypatch.setattr(spectral, "_DENSE", 10_000)
    dense = smallest_eigenvectors(digits, count)
    assert_smallest(digits, dense, count)
    np.testing.assert_allclose(iterated.vectors, dense.vectors, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 6, 7, 9, 30])
@pytest.mark.parametrize("dense_up_to", [0, 10_000])
def test_disconnected_graphs(
    disconnected: sp.csr_matrix, count: int, dense_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectral, "_DENSE", dense_up_to)
    found = smallest_eigenvectors(disconnected, count)
    assert_smallest(disconnected, found, count)
    assert (found.values[:6] == 0).all()
    assert (found.values[6:] > 1e-6).all()
    support = (found.vectors[:, :6] > 0).sum(axis=0)
    assert support.tolist() == [250, 60, 60, 2, 1, 1][:count]


@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_all_eigenpairs_of_small_graphs(n: int) -> None:
    X = np.random.default_rng(n).normal(size=(n, 2))
    W = gaussian_weights(knn_graph(X, min(n - 1, 4))) if n > 1 else sp.csr_matrix((1, 1))
    for count in range(1, n + 1):
        assert_smallest(W, smallest_eigenvectors(W, count), count)


def test_a_graph_without_edges_has_the_indicators() -> None:
    found = smallest_eigenvectors(sp.csr_matrix((600, 600)), 5)
    assert np.array_equal(found.vectors, np.eye(600, 5))
    assert not found.values.any()


def test_result_is_a_function_of_graph_and_seed(digits: sp.csr_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "_DENSE", 0)
    first, again = (smallest_eigenvectors(digits, 8, random_state=3) for _ in range(2))
    with threadpool_limits(1, user_api="blas"):
        single = smallest_eigenvectors(digits, 8, random_state=3)
    other = smallest_eigenvectors(digits, 8, random_state=4)
    for pairs in (again, single):
        assert np.array_equal(pairs.vectors, first.vectors)
        assert np.array_equal(pairs.values, first.values)
    np.testing.assert_allclose(other.vectors, first.vectors, atol=1e-6)


FAINT = {  # edges from the three clusters below to further nodes, 90 and on
    "outlier": [(90, 0, 1e-300), (90, 1, 1e-301)],
    "chain": [(90, 0, 1e-60), (91, 90, 1e-120), (92, 91, 1e-200)],
    "pair": [(90, 91, 1e-40), (90, 0, 1e-100), (91, 5, 1e-200)],
    "group": [(90, 91, 1e-40), (91, 92, 2e-40), (90, 92, 1e-40), (93, 90, 1e-300), (93, 0, 1e-300), (90, 3, 1e-60)],
}


def faint(edges: list[tuple[int, int, float]]) -> sp.csr_matrix:
    points = np.random.default_rng(0).normal(size=(90, 2)) * 0.3 + np.repeat(np.eye(3, 2), 30, axis=0)
    near = gaussian_weights(knn_graph(points, 8))
    W = sp.lil_matrix(sp.block_diag([near, sp.csr_matrix((max(max(i, j) for i, j, _ in edges) - 89,) * 2)]))
    for i, j, weight in edges:
        W[i, j] = W[j, i] = weight
    return sp.csr_matrix(W)


@pytest.mark.parametrize("edges", FAINT.values(), ids=FAINT)
@pytest.mark.parametrize("dense_up_to", [0, 10_000])
def test_vectors_over_the_roots_of_the_degrees_are_right_where_the_weights_are_next_to_nothing(
    edges: list[tuple[int, int, float]], dense_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectral, "_DENSE", dense_up_to)
    W = faint(edges)
    degrees = np.asarray(W.sum(axis=1)).ravel()
    found = smallest_eigenvectors(W, 5)
    v = found.vectors / np.sqrt(degrees)[:, None]
    v /= np.abs(v).max(axis=0)
    # L v = lambda D v, each row in units of its own degree
    np.testing.assert_allclose(v - (W @ v) / degrees[:, None], v * found.values, atol=1e-9)
    assert (found.values > 1e-3).any()


def test_lanczos_that_does_not_converge_fails_the_seed(digits: sp.csr_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "_DENSE", 0)
    monkeypatch.setattr(spectral, "_RESTARTS", 1)
    with pytest.raises(SeedFailed, match="of the 20 eigenpairs sought converged"):
        smallest_eigenvectors(digits, 21)


@pytest.mark.parametrize("count", [0, 251, 2.5])
def test_n_components_out_of_range_is_refused(digits: sp.csr_matrix, count: int) -> None:
    with pytest.raises(UserError, match=r"n_components must be an integer in \[1, N=250\]"):
        smallest_eigenvectors(digits, count)
