"""Fast merging against loops over all pairs, in every merge."""

from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from deepclust import datasets, methods
from deepclust.graph.agglomerate import Affinity, Scale, _Clusters, agglomerate, agglomerate_neighbors, digraph_weights
from deepclust.graph.agglomerate import nearest_components as components
from deepclust.graph.knn import knn_graph
from deepclust.metrics.external import accuracy, ari, nmi
from tests.references import agglomerate as reference


def samples(n: int = 30, first: int = 0) -> np.ndarray:
    """Return digits without ties."""
    found: np.ndarray = load_digits().data[first : first + n] / 16
    return found + 1e-3 * np.random.default_rng(0).random(found.shape)


def stochastic(W: sp.csr_matrix) -> sp.csr_matrix:
    return sp.csr_matrix(sp.diags_array(1 / np.asarray(W.sum(axis=1)).ravel()) @ W)


@pytest.mark.parametrize("scale", ["global", "local"])
@pytest.mark.parametrize("k", [2, 5, 12])
def test_weights_and_start_are_the_formulas(scale: Scale, k: int) -> None:
    X = samples()
    X[-1] = 20  # far away: the global scale is doubled
    knn = knn_graph(X, k)
    np.testing.assert_allclose(digraph_weights(knn, scale).toarray(), reference.digraph(X, k, scale), rtol=1e-4)
    np.testing.assert_array_equal(components(knn), reference.components(X))


@pytest.mark.parametrize("scale", ["global", "local"])
def test_weights_of_duplicates_are_finite_and_largest(scale: Scale) -> None:
    for X in (np.zeros((6, 2)), np.repeat([[0.0, 0], [3, 0], [0, 4]], [5, 5, 1], axis=0)):
        W = digraph_weights(knn_graph(X, 3), scale)
        assert np.isfinite(W.data).all()
        assert W.max() == W[0, 1] > 0


@pytest.mark.parametrize("singly", [True, False])
@pytest.mark.parametrize("scale", ["global", "local"])
def test_every_merge_is_that_of_the_largest_affinity(scale: Scale, singly: bool) -> None:
    n = 20 if singly else 50
    knn = knn_graph(samples(n), 5)
    start = np.arange(n) if singly else components(knn)
    W = digraph_weights(knn, scale)
    expected = reference.merges(start, 1, partial(reference.gdl, W.toarray()))
    assert agglomerate(W, start, 1).merges.tolist() == expected
    P = stochastic(W)
    for z in (0.01, 0.3):
        expected = reference.merges(start, 1, partial(reference.third_order, P.toarray(), z))
        assert agglomerate(P, start, 1, discount=z).merges.tolist() == expected


def test_path_integrals_are_their_inverses_to_the_third_order() -> None:
    P = stochastic(digraph_weights(knn_graph(samples(), 8))).toarray()
    A, B, z = list(range(6)), list(range(6, 20)), 0.01
    exact, second = (reference.gain(P, z, A, B) / z**2, reference.third_order(P, 0, A, B))
    assert second == pytest.approx(reference.gdl(P, A, B))
    assert exact == pytest.approx(reference.third_order(P, z, A, B), rel=3 * z**2)
    assert abs(exact / second - 1) > 3 * z**2
    assert reference.path_integral(P, 0, A, A) == pytest.approx(1 / len(A))


def test_path_integrals_merge_as_by_dense_inverses() -> None:
    knn = knn_graph(samples(60), 8)
    P = stochastic(digraph_weights(knn)).toarray()
    expected = reference.merges(components(knn), 5, partial(reference.gain, P, 0.01))
    assert agglomerate_neighbors(knn, 5, affinity="path_integral").merges.tolist() == expected


def test_linkage_is_additive_over_disjoint_clusters() -> None:
    W = digraph_weights(knn_graph(samples(60), 10))
    parts = np.arange(60) % 6
    fine, coarse = (_Clusters(W, start, 0)._row(0) for start in (parts, np.minimum(parts, 1)))
    assert coarse[1] == pytest.approx(fine[1:].sum(), rel=1e-12)
    assert fine[1:].min() >= 0


def test_order_of_samples_does_not_matter() -> None:
    X = samples(200)
    order = np.random.default_rng(1).permutation(200)
    for affinity in get_args(Affinity):
        found, again = (agglomerate_neighbors(knn_graph(x, 10), 7, affinity=affinity).labels for x in (X, X[order]))
        assert adjusted_rand_score(found[order], again) == 1


def test_far_groups_are_merged_last_and_ties_go_to_the_smallest_pair() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3)) + 1e3 * np.repeat([[0.0], [1], [2]], 30, axis=0)
    knn = knn_graph(X, 6)
    found = agglomerate_neighbors(knn, 1)
    assert adjusted_rand_score(np.repeat([0, 1, 2], 30), agglomerate_neighbors(knn, 3).labels) == 1
    start = components(knn)
    assert found.merges[-2:].tolist() == [[0, start[30]], [0, start[60]]]  # of affinity 0, as no edge joins them
    np.testing.assert_array_equal(agglomerate(sp.csr_matrix((4, 4)), np.arange(4), 2).merges, [[0, 1], [0, 2]])


def test_labels_are_numbered_by_first_samples_and_as_many_as_asked_for() -> None:
    knn = knn_graph(samples(60), 10)
    for n_clusters in (1, 4, components(knn).max() + 1, 50, 60):  # beyond the start's clusters: from single samples
        labels = agglomerate_neighbors(knn, n_clusters).labels
        _, first = np.unique(labels, return_index=True)
        assert len(first) == n_clusters
        assert (np.diff(first) > 0).all()


def test_mnist_test_ends_where_the_papers_table_has_it(mirror: Path | None, tmp_path: Path) -> None:
    if mirror is None or not (mirror / "mnist").is_dir():
        pytest.skip("no mirror holds MNIST's files: set DEEPCLUST_MIRROR to a folder that does")
    data = datasets.load("mnist_test", tmp_path, mirror)
    assert data.y is not None
    labels = methods.load("ac_gdl")(data.n_clusters).fit_predict(data.X)
    scores = [score(data.y, labels) for score in (accuracy, nmi, ari)]
    assert scores == pytest.approx([0.9327, 0.864, 0.862], abs=5e-4)
