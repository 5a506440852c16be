"""Edge weights: the formulas, their range and symmetry, and duplicates."""

import numpy as np
import pytest
import scipy.sparse as sp

from deepclust.errors import UserError
from deepclust.graph.knn import knn_graph
from deepclust.graph.weights import Bandwidth, gaussian_weights, local_scales, median_scale, summary
from tests.references import graph as reference

BANDWIDTHS: list[Bandwidth] = ["median", "local"]


def gaussian(n: int, d: int = 4) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, d))


@pytest.mark.parametrize("n", [2, 5, 40])
@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
@pytest.mark.parametrize("symmetrize", ["max", "mean"])
def test_weights_follow_their_formula(n: int, bandwidth: Bandwidth, symmetrize: str) -> None:
    X, k = gaussian(n), min(6, n - 1)
    W = gaussian_weights(knn_graph(X, k), bandwidth=bandwidth, symmetrize=symmetrize)  # type: ignore[arg-type]
    np.testing.assert_allclose(W.toarray(), reference.weights(X, k, bandwidth, symmetrize), rtol=1e-12)


DATA = {
    "gaussian": gaussian(60),
    "duplicates": np.repeat(gaussian(30), 2, axis=0),
    "more than k duplicates": np.vstack([np.zeros((20, 4)), gaussian(40)]),
    "mostly duplicates": np.vstack([np.zeros((50, 4)), gaussian(10)]),
    "all the same": np.ones((60, 4)),
    "far outlier": np.vstack([gaussian(59), np.full((1, 4), 1e9)]),
    "tiny": 1e-36 * gaussian(60),
    "huge": 1e29 * gaussian(60),
}


@pytest.mark.parametrize("case", DATA)
@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
@pytest.mark.parametrize("symmetrize", ["max", "mean"])
def test_weights_are_symmetric_and_positive_edges(case: str, bandwidth: Bandwidth, symmetrize: str) -> None:
    graph = knn_graph(DATA[case], 5)
    W = gaussian_weights(graph, bandwidth=bandwidth, symmetrize=symmetrize)  # type: ignore[arg-type]
    assert W.dtype == np.float64
    assert W.has_canonical_format
    assert (W.data > 0).all()
    assert (W.data <= 1).all()
    dense = W.toarray()
    assert np.array_equal(dense, dense.T)
    assert not np.diag(dense).any()
    edges = np.zeros(W.shape, dtype=bool)
    edges[graph.tocoo().coords] = True  # of distance 0 too
    assert np.array_equal(dense > 0, edges | edges.T)
    distance = np.linalg.norm(DATA[case][:, None] - DATA[case], axis=2)
    duplicates = (distance == 0) & (edges | edges.T)
    one_sided = edges ^ edges.T
    assert (dense[duplicates] == np.where(one_sided[duplicates] & (symmetrize == "mean"), 0.5, 1)).all()


def test_mean_halves_the_edges_that_one_end_sees() -> None:
    graph = knn_graph(gaussian(40), 4)
    largest, mean = (gaussian_weights(graph, symmetrize=how).toarray() for how in ("max", "mean"))
    mutual = (graph.toarray() > 0) & (graph.toarray().T > 0)
    assert 0 < mutual.sum() < (largest > 0).sum()
    np.testing.assert_allclose(mean, np.where(mutual, largest, largest / 2), rtol=1e-15)


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_weights_ignore_the_unit_of_the_data(bandwidth: Bandwidth) -> None:
    X = DATA["more than k duplicates"]
    one, other = (gaussian_weights(knn_graph(c * X, 5), bandwidth=bandwidth) for c in (1, 2.0**80))
    np.testing.assert_allclose(one.toarray(), other.toarray(), rtol=1e-12)


def test_median_scale_counts_every_entry_of_the_graph() -> None:
    graph = knn_graph(gaussian(31), 5)
    assert median_scale(graph) == np.median(graph.data.astype(np.float64))
    assert median_scale(knn_graph(DATA["duplicates"], 1)) == 1  # nothing but zeros
    graph = knn_graph(DATA["mostly duplicates"], 5)
    assert median_scale(graph) == np.median(graph.data[graph.data > 0].astype(np.float64))


def test_local_scales_are_the_last_neighbors_distances() -> None:
    X = gaussian(31)
    assert local_scales(knn_graph(X, 5)).tolist() == [row[-1][0] for row in reference.neighbors(X, 5)]
    scales = local_scales(knn_graph(DATA["more than k duplicates"], 5))
    assert (scales[:20] == scales[20:].min()).all()
    assert (local_scales(knn_graph(DATA["all the same"], 5)) == 1).all()


def test_summary_counts_edges_components_and_degrees() -> None:
    X = np.array([[0.0], [1], [3], [100], [101], [104], [106]])
    graph = knn_graph(X, 1)  # 0-1, 1-2; 3-4, 5-6
    W = gaussian_weights(graph)
    assert summary(graph, W, bandwidth="median") == {
        "n": 7,
        "n_neighbors": 1,
        "n_edges": 4,
        "n_components": 3,
        "component_size_min": 2,
        "component_size_max": 3,
        "degree_min": 1,
        "degree_median": 1.0,
        "degree_max": 2,
        "bandwidth": "median",
        "scale_min": 1.0,
        "scale_median": 1.0,
        "scale_max": 1.0,
    }
    alone = summary(None, W, bandwidth="median")  # without distances
    assert alone.items() < summary(graph, W, bandwidth="median").items()
    assert not alone.keys() & {"n_neighbors", "bandwidth", "scale_min", "scale_median", "scale_max"}
    local = summary(graph, W, bandwidth="local")
    assert [local[f"scale_{which}"] for which in ("min", "median", "max")] == [1, 1, 2]
    assert {type(value) for value in local.values()} == {int, float, str}


def test_unknown_choices_and_other_matrices_are_refused() -> None:
    graph = knn_graph(gaussian(20), 3)
    with pytest.raises(UserError, match="bandwidth must be 'median' or 'local', got 'auto'"):
        gaussian_weights(graph, bandwidth="auto")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="symmetrize must be 'max' or 'mean', got 'min'"):
        gaussian_weights(graph, symmetrize="min")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="same number"):
        gaussian_weights(sp.csr_matrix(np.triu(np.ones((4, 4)))))
