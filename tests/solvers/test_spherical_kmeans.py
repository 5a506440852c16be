"""Spherical k-means: its objective, its optima, and the inputs that leave clusters without members."""

import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from deepclust.errors import UserError
from deepclust.solvers import spherical_kmeans as module
from deepclust.solvers.spherical_kmeans import spherical_kmeans

DIGITS = load_digits().data


def cones(n_clusters: int, spread: float = 0.1, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of any length (n, 6) around orthogonal directions, and the direction of each."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_clusters
    return (np.eye(n_clusters, 6)[y] + spread * rng.normal(size=(n, 6))) * rng.uniform(0.1, 10, size=(n, 1)), y


def objective(Z: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> float:
    cosines = [z @ centers[k] / np.linalg.norm(z) / np.linalg.norm(centers[k]) for z, k in zip(Z, labels, strict=True)]
    return float(np.mean([1 - c for c in cosines]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_clusters", [2, 10, 40])
def test_objective_never_rises(seed: int, n_clusters: int) -> None:
    found = spherical_kmeans(DIGITS, n_clusters, random_state=seed, n_init=1, tolerance=0)
    assert found.converged
    assert len(found.objective) == found.n_iter > 2
    assert all(b <= a + 1e-15 for a, b in itertools.pairwise(found.objective))
    assert found.objective[-1] == pytest.approx(objective(DIGITS, found.labels, found.centers))


@pytest.mark.parametrize("seed", range(5))
def test_objective_never_rises_where_clusters_run_empty(seed: int) -> None:
    """Three distinct rows of many copies and a few others: seeds coincide, and clusters start without members."""
    rng = np.random.default_rng(seed)
    Z = np.concatenate([np.repeat(rng.normal(size=(3, 4)), 50, axis=0), rng.normal(size=(8, 4))])
    found = spherical_kmeans(Z, 9, random_state=seed, n_init=1, tolerance=0)
    assert all(b <= a + 1e-15 for a, b in itertools.pairwise(found.objective))
    assert len(np.unique(found.labels)) == 9


def test_result_is_a_fixed_point() -> None:
    found = spherical_kmeans(DIGITS, 10, random_state=0, tolerance=0)
    unit = DIGITS / np.linalg.norm(DIGITS, axis=1, keepdims=True)
    np.testing.assert_array_equal(found.labels, (unit @ found.centers.T).argmax(axis=1))
    for k in range(10):
        mean = unit[found.labels == k].mean(axis=0)
        np.testing.assert_allclose(found.centers[k], mean / np.linalg.norm(mean), atol=1e-12)


@pytest.mark.parametrize("n_clusters", [2, 4, 6])
def test_cones_are_found_whatever_the_lengths(n_clusters: int) -> None:
    Z, y = cones(n_clusters)
    found = spherical_kmeans(Z, n_clusters, random_state=0)
    assert adjusted_rand_score(y, found.labels) == 1
    np.testing.assert_allclose(np.linalg.norm(found.centers, axis=1), 1)


def test_objective_is_not_worse_than_that_of_kmeans_on_the_unit_rows() -> None:
    """Half the squared distance between unit vectors is 1 - cosine."""
    unit = DIGITS / np.linalg.norm(DIGITS, axis=1, keepdims=True)
    labels = KMeans(10, n_init=20, random_state=0).fit(unit).labels_
    centers = np.stack([unit[labels == k].mean(axis=0) for k in range(10)])
    found = spherical_kmeans(DIGITS, 10, random_state=0)
    assert found.objective[-1] <= objective(DIGITS, labels, centers) * 1.001


def test_best_of_many_starts_is_kept() -> None:
    one, many = (spherical_kmeans(DIGITS, 30, random_state=0, n_init=n).objective[-1] for n in (1, 10))
    assert many < one


def test_one_cluster_points_to_the_mean_direction() -> None:
    Z, _ = cones(3)
    found = spherical_kmeans(Z, 1, random_state=0, n_init=1)
    mean = (Z / np.linalg.norm(Z, axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(found.centers[0], mean / np.linalg.norm(mean))


def test_as_many_clusters_as_samples_leave_nothing() -> None:
    Z = np.random.default_rng(0).normal(size=(30, 5))
    found = spherical_kmeans(Z, 30, random_state=0, n_init=1)
    assert sorted(found.labels) == list(range(30))
    assert found.objective[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("Z", [np.zeros((20, 3)), np.ones((20, 3)), np.repeat(np.eye(3), 7, axis=0)[:20]])
def test_fewer_distinct_rows_than_clusters_are_possible(Z: np.ndarray) -> None:
    found = spherical_kmeans(Z, 5, random_state=0)
    assert found.converged
    assert np.isfinite(found.centers).all()
    assert set(found.labels) <= set(range(5))
    assert len({tuple(z) for z in Z}) == len(np.unique(found.labels))


def test_rows_of_norm_zero_do_not_move_centroids() -> None:
    Z, y = cones(3)
    with_zeros = np.concatenate([Z, np.zeros((5, 6))])
    found = spherical_kmeans(with_zeros, 3, random_state=0)
    assert adjusted_rand_score(y, found.labels[: len(Z)]) == 1
    np.testing.assert_allclose(np.linalg.norm(found.centers, axis=1), 1)


def test_stopping_at_the_limit_warns_with_the_numbers() -> None:
    with pytest.warns(UserWarning, match=r"stopped after max_iter=2 iterations.*falling by"):
        found = spherical_kmeans(DIGITS, 10, random_state=0, n_init=1, max_iter=2)
    assert (found.n_iter, found.converged) == (2, False)


def test_input_is_not_changed_and_the_result_depends_on_the_seed_alone() -> None:
    Z = DIGITS.copy()
    Z.flags.writeable = False
    first, again = (spherical_kmeans(Z, 10, random_state=3, n_init=2) for _ in range(2))
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.centers, again.centers)


def test_result_does_not_depend_on_how_many_rows_are_compared_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = spherical_kmeans(DIGITS, 10, random_state=0, n_init=2)
    monkeypatch.setattr(module, "_ENTRIES", 1234)
    parts = spherical_kmeans(DIGITS, 10, random_state=0, n_init=2)
    np.testing.assert_array_equal(parts.labels, whole.labels)
    np.testing.assert_allclose(parts.centers, whole.centers, atol=1e-12)


@pytest.mark.parametrize("n_clusters", [0, 21])
def test_number_of_clusters_out_of_range_is_named(n_clusters: int) -> None:
    with pytest.raises(UserError, match=rf"n_clusters must be in \[1, N=20\], got {n_clusters}"):
        spherical_kmeans(np.eye(20), n_clusters, random_state=0)


def test_rows_that_are_not_finite_are_refused() -> None:
    Z = np.eye(5)
    Z[2, 2] = np.nan
    with pytest.raises(UserError, match="Z must be finite"):
        spherical_kmeans(Z, 2, random_state=0)
