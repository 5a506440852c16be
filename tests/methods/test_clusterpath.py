"""Convex clustering: the path to K clusters, its read-outs, and joined components."""

import logging
from typing import Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from deepclust.errors import NotApplicable
from deepclust.methods.baselines.convex_clustering import ConvexClustering, _bridges


def groups(sizes: tuple[int, ...] = (30, 25, 20), spread: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Return samples (N, 2) about the corners of a triangle or a square, and their groups."""
    y = np.repeat(range(len(sizes)), sizes)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.2, 0.9], [1.4, 1.1]])
    return corners[y] + spread * np.random.default_rng(0).normal(size=(len(y), 2)), y


@pytest.mark.parametrize("settings", [{}, {"solver": "admm"}, {"phi": 0.0, "n_neighbors": 40}])
def test_groups_are_found_and_every_read_out_agrees(settings: dict[str, Any]) -> None:
    X, y = groups()
    method = ConvexClustering(3, random_state=0, **settings).fit(X)
    for labels in (method.labels_, *method.readouts_.values()):
        assert adjusted_rand_score(y, labels) == 1
    assert method.converged_
    assert len(np.unique(method.embedding_, axis=0)) == 3
    np.testing.assert_allclose(method.embedding_.mean(axis=0), X.mean(axis=0))
    path = method.extras_["path"]
    assert (path["gap"] <= method.tolerance).all()
    assert path["n_iter"].sum() == method.n_iter_
    assert (path.sort_values("gamma")["n_components"].diff().dropna() <= 0).all()


def test_small_components_join_the_nearest_cluster_and_stay_in_the_strict_read_out() -> None:
    X, y = groups()
    X = np.vstack([X, [[3.0, -0.5]]])  # nearest to the second group
    method = ConvexClustering(3, random_state=0).fit(X)
    assert method.converged_
    assert adjusted_rand_score(np.append(y, 1), method.labels_) == 1
    assert adjusted_rand_score(np.append(y, 3), method.readouts_["components"]) == 1


@pytest.mark.parametrize(("n_clusters", "expected"), [(4, [0, 1, 2, 3]), (3, [0, 1, 2, 2]), (1, [0, 0, 0, 0])])
def test_components_are_joined_where_k_is_below_their_number(n_clusters: int, expected: list[int]) -> None:
    y = np.repeat(range(4), 15)
    X = (np.array([0.0, 10.0, 30.0, 34.0])[:, None] + np.linspace(0, 1, 15)).reshape(-1, 1)
    method = ConvexClustering(n_clusters, n_neighbors=5, random_state=0).fit(X)
    assert method.n_graph_components_ == 4
    assert adjusted_rand_score(np.array(expected)[y], method.labels_) == 1
    assert method.converged_


def test_bridges_are_those_of_single_linkage() -> None:
    X = np.random.default_rng(2).normal(size=(60, 3))
    tree = linkage(X, "single")
    component = fcluster(tree, 7, "maxclust") - 1
    pairs = _bridges(X, component)
    lengths = np.linalg.norm(X[pairs[:, 0]] - X[pairs[:, 1]], axis=1)
    np.testing.assert_allclose(np.sort(lengths), tree[-6:, 2])
    assert (component[pairs[:, 0]] != component[pairs[:, 1]]).all()


def test_a_path_that_jumps_over_k_is_read_at_the_nearest_count_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])  # all four meet at once
    offsets = 0.05 * np.vstack([np.eye(2), -np.eye(2), np.zeros((1, 2))])
    X, y = (square[:, None] + offsets).reshape(-1, 2), np.repeat(range(4), 5)
    with caplog.at_level(logging.INFO):
        method = ConvexClustering(3, n_neighbors=19, phi=0.0, random_state=0).fit(X)
    assert not method.converged_
    assert "the path jumps over K=3; labels are those of its 4 clusters" in caplog.text
    assert len(np.unique(method.labels_)) == 3
    assert adjusted_rand_score(y, method.readouts_["components"]) == 1


def test_duplicates_are_one_cluster_and_fewer_of_them_than_k_are_told() -> None:
    X, y = np.repeat(np.eye(3), [12, 8, 6], axis=0), np.repeat(range(3), [12, 8, 6])
    for n_clusters in (3, 5):
        method = ConvexClustering(n_clusters, n_neighbors=4, random_state=0).fit(X)
        assert adjusted_rand_score(y, method.labels_) == 1
        assert method.converged_ == (n_clusters == 3)


def test_features_beyond_the_rank_of_the_samples_change_nothing() -> None:
    X, _ = groups((8, 7, 6))
    wide, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(50, 2)))
    small, large = (ConvexClustering(3, random_state=0).fit(rows) for rows in (X, X @ wide.T + 0.5))
    np.testing.assert_array_equal(small.labels_, large.labels_)
    np.testing.assert_allclose(small.embedding_ @ wide.T + 0.5, large.embedding_, atol=1e-6)
    assert large.embedding_.shape == (21, 50)


def test_a_point_short_of_its_gap_is_not_converged_and_large_data_are_skipped() -> None:
    X, _ = groups()
    assert not ConvexClustering(3, max_iter=3, tolerance=1e-9, random_state=0).fit(X).converged_
    with pytest.raises(NotApplicable, match="a data set of 75 samples is above max_samples=74"):
        ConvexClustering(3, max_samples=74).fit(X)
