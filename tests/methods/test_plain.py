"""The methods on input features and on the graph, against scikit-learn, SciPy and their own definitions."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.cluster.hierarchy
import scipy.sparse as sp
import sklearn.cluster
from sklearn.datasets import load_digits, make_blobs, make_circles, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from deepclust import methods
from deepclust.errors import SeedFailed, UserError
from deepclust.graph.knn import knn_graph
from deepclust.graph.weights import gaussian_weights
from deepclust.methods import _flat_clustering
from deepclust.methods._flat_clustering import nearest_center
from deepclust.methods._graph_cuts import neighbour_graph
from deepclust.methods.base import Clusterer
from deepclust.methods.baselines.gmm import GMM
from deepclust.methods.baselines.kmeans import KMeans
from deepclust.methods.baselines.ward import Ward
from deepclust.methods.graph.sc_ncut import SCNcut


def inertia(X: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> float:
    return float(((X - centers[labels]) ** 2).sum())


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({}, r"must set labels_ to integers of shape \(6,\), got object of shape \(\)"),
        ({"labels_": np.zeros(5, int)}, r"must set labels_ .* got int64 of shape \(5,\)"),
        ({"labels_": np.zeros(6)}, r"must set labels_ .* got float64 of shape \(6,\)"),
        ({"labels_": np.full(6, -1)}, r"must set labels_ in \[0, K=2\), got -1 to -1; .* a read-out"),
        ({"labels_": np.arange(6)}, r"must set labels_ in \[0, K=2\), got 0 to 5; .* a read-out"),
        ({"labels_": np.zeros(6, int), "readouts_": {"own": np.zeros(5, int)}}, r"must set readouts_\['own'\] to int"),
        ({"labels_": np.zeros(6, int), "readouts_": {"a/b": np.zeros(6, int)}}, "has the read-out 'a/b'; name it with"),
        ({"labels_": np.zeros(6, int), "embedding_": np.zeros(6)}, r"must set embedding_ to floats of shape \(6, P\)"),
        ({"labels_": np.zeros(6, int), "embedding_": np.zeros((5, 2))}, r"must set embedding_ .* shape \(5, 2\)"),
    ],
)
def test_results_that_are_none_end_the_fit_with_a_line(found: dict[str, Any], message: str) -> None:
    class Mine(Clusterer):
        def _fit(self, X: np.ndarray, **_: Any) -> None:
            for name, value in found.items():
                setattr(self, name, value)

    with pytest.raises(UserError, match=f"^Mine {message}"):
        Mine(2).fit(np.arange(12.0).reshape(6, 2))


def test_an_embedding_that_is_not_finite_is_a_failed_seed() -> None:
    class Mine(Clusterer):
        def _fit(self, X: np.ndarray, **_: Any) -> None:
            self.labels_ = np.zeros(6, int)
            self.embedding_ = np.array([[0.0], [np.nan], [1.0], [np.inf], [2.0], [3.0]])

    with pytest.raises(SeedFailed, match=r"^the embedding is not finite in 2 of 6 rows$"):
        Mine(2).fit(np.arange(12.0).reshape(6, 2))


def test_kmeans_reaches_scikit_learns_inertia() -> None:
    X, _ = make_blobs(300, centers=6, random_state=0)
    best = sklearn.cluster.KMeans(6, n_init=50, random_state=1).fit(X).inertia_
    method = KMeans(6, random_state=0).fit(X)
    assert inertia(X, method.labels_, method.cluster_centers_) == pytest.approx(best, rel=1e-4)
    assert method.converged_


@pytest.mark.parametrize(("limit", "value"), [("_LLOYD", 2_999), ("_DISTANCES", 17_999)])
def test_kmeans_of_large_data_goes_by_mini_batches_and_finds_the_same_clusters(
    limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, _ = make_blobs(3000, centers=6, cluster_std=0.3, random_state=0)
    exact = KMeans(6, random_state=0).fit(X)
    monkeypatch.setattr(_flat_clustering, limit, value)
    monkeypatch.setattr(_flat_clustering, "_BATCH", 500)
    monkeypatch.setattr(sklearn.cluster.KMeans, "fit", lambda *_: pytest.fail("Lloyd's iterations"))
    method = KMeans(6, random_state=0).fit(X)
    assert adjusted_rand_score(exact.labels_, method.labels_) == 1
    assert method.converged_
    np.testing.assert_array_equal(method.predict(X), method.labels_)


@pytest.mark.parametrize("scale", [1e-35, 1e-23, 1e-16, 1.0, 1e16, 1e35])
def test_kmeans_of_float32_finds_the_same_clusters_at_every_scale(scale: float) -> None:
    X, y = make_blobs(90, centers=3, cluster_std=0.2, random_state=0)
    method = KMeans(3, random_state=0).fit((X * scale).astype(np.float32))
    assert adjusted_rand_score(y, method.labels_) == 1
    assert method.cluster_centers_.dtype == np.float32
    assert np.isfinite(method.cluster_centers_).all()


def test_kmeans_keeps_the_best_of_its_starts() -> None:
    X = load_digits().data[:400] / 16
    found = [
        inertia(X, method.labels_, method.cluster_centers_)
        for method in (KMeans(10, n_init=n_init, random_state=3).fit(X) for n_init in (1, 20))
    ]
    assert found[1] < found[0]


def test_kmeans_centers_are_the_means_of_their_samples() -> None:
    X = load_digits().data[:400] / 16
    method = KMeans(10, random_state=0).fit(X)
    for k, center in enumerate(method.cluster_centers_):
        np.testing.assert_allclose(X[method.labels_ == k].mean(axis=0), center, atol=1e-3)


def test_ward_is_scipys_tree_cut_at_k() -> None:
    X = load_digits().data[:300]
    tree = scipy.cluster.hierarchy.ward(X)
    for n_clusters in (2, 10, 40):
        expected = scipy.cluster.hierarchy.fcluster(tree, n_clusters, "maxclust")
        method = Ward(n_clusters).fit(X)
        assert adjusted_rand_score(expected, method.labels_) == 1
        assert method.n_iter_ == 300 - n_clusters


def beside(far: float, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return three tight groups in [0, 1] and one sample far away, with their numbers."""
    y = np.append(np.arange(n) % 3, 3)
    X = 0.3 + 0.4 * np.eye(4)[y] + 0.02 * np.random.default_rng(0).normal(size=(n + 1, 4))
    X[-1] = far
    return X, y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("far", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("name", ["kmeans", "gmm", "ward"])
def test_a_far_value_takes_no_digits_from_the_others(name: str, far: float, dtype: type) -> None:
    X, y = beside(far)
    method: Any = methods.load(name)(4, random_state=0).fit(X.astype(dtype))
    assert adjusted_rand_score(y, method.labels_) == 1
    if name == "kmeans":
        assert method.cluster_centers_.dtype == dtype
    if name != "ward":
        np.testing.assert_array_equal(method.predict(X.astype(dtype)), method.labels_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cls", [KMeans, GMM])
def test_a_value_too_far_for_float64_fails_the_seed(cls: Any, dtype: type) -> None:
    with pytest.raises(SeedFailed, match=r"so far from the others that float64 has no digits left .* drop those, or"):
        cls(4, random_state=0).fit(beside(1e13)[0].astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fewer_different_samples_than_clusters_are_no_failure(dtype: type) -> None:
    X: np.ndarray = np.repeat(np.eye(3), 20, axis=0).astype(dtype)
    with pytest.warns(ConvergenceWarning, match="distinct"):
        method = KMeans(5, random_state=0).fit(X)
    assert len(np.unique(method.labels_)) == 3
    np.testing.assert_array_equal(method.predict(X), method.labels_)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
@pytest.mark.parametrize("size", [7, 10_000])
def test_nearest_center_is_that_of_the_least_difference(
    offset: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    X, centers = rng.normal(size=(400, 5)) + offset, rng.normal(size=(6, 5)) + offset
    centers[4] = centers[2]  # of equal ones the first
    X[:20] = (centers[0] + centers[1]) / 2 + 1e-9 * rng.normal(size=(20, 5))
    monkeypatch.setattr(_flat_clustering, "_ENTRIES", size)
    expected = np.square(X[:, None].astype(np.longdouble) - centers).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest_center(X, centers), expected)


def stretched() -> tuple[np.ndarray, np.ndarray]:
    """Two long parallel clouds: k-means cuts across them, Gaussians with full covariances do not."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 150)
    return rng.normal(size=(300, 2)) * [3, 0.5] + y[:, None] * [0, 4], y


def test_gmm_follows_stretched_clusters_where_kmeans_cannot() -> None:
    X, y = stretched()
    assert adjusted_rand_score(y, GMM(2, n_init=10, random_state=0).fit(X).labels_) > 0.95
    assert adjusted_rand_score(y, KMeans(2, random_state=0).fit(X).labels_) < 0.1


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_gmm_reaches_scikit_learns_likelihood(covariance: Any) -> None:
    X, _ = make_blobs(300, centers=4, random_state=1)
    method = GMM(4, covariance=covariance, regularization=1e-6, n_init=5, random_state=0).fit(X)
    reference = GaussianMixture(4, covariance_type=covariance, n_init=5, random_state=1).fit(X)
    assert adjusted_rand_score(reference.predict(X), method.labels_) == 1
    order, expected = np.argsort(method.cluster_centers_[:, 0]), np.argsort(reference.means_[:, 0])
    np.testing.assert_allclose(method.cluster_centers_[order], reference.means_[expected], atol=1e-3)


def test_gmm_remarks_upon_a_regularization_that_blurs_the_clusters() -> None:
    X, y = make_blobs(300, centers=4, random_state=1)
    with pytest.warns(
        UserWarning, match=r"^regularization=0.001 is not small beside the features' mean variance, 2e-05"
    ):
        GMM(4, random_state=0).fit(X / 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert adjusted_rand_score(y, GMM(4, regularization=1e-9, random_state=0).fit(X / 1000).labels_) > 0.9


def test_a_fitted_mixture_keeps_its_form_whatever_is_set_later() -> None:
    X = make_blobs(200, 4, centers=4, random_state=1)[0]
    method = GMM(4, covariance="tied", random_state=0).fit(X)
    expected = method.predict(X)
    for covariance in ("diag", "spherical"):
        np.testing.assert_array_equal(method.set_params(covariance=covariance, n_clusters=3).predict(X), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_gmm_with_a_singular_covariance_fails_its_seed_and_says_what_to_raise(covariance: Any, dtype: type) -> None:
    X: np.ndarray = np.repeat(np.eye(3), 10, axis=0).astype(dtype)
    with pytest.raises(SeedFailed, match=r"a covariance became singular; raise regularization=0"):
        GMM(3, covariance=covariance, regularization=0.0, random_state=0).fit(X)
    labels = GMM(3, covariance=covariance, regularization=1e-3, random_state=0).fit(X).labels_
    assert adjusted_rand_score(np.repeat(range(3), 10), labels) == 1


def test_gmm_lets_other_errors_of_scikit_learn_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("something else")

    monkeypatch.setattr(GaussianMixture, "fit_predict", broken)
    with pytest.raises(ValueError, match="something else"):
        GMM(2).fit(np.random.default_rng(0).random((20, 2)))


SHAPES: dict[str, Callable[[int], tuple[np.ndarray, np.ndarray]]] = {
    "moons": lambda n: make_moons(n, noise=0.05, random_state=0),
    "rings": lambda n: make_circles(n, noise=0.03, factor=0.4, random_state=0),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_normalised_cuts_separate_shapes_that_kmeans_cannot(shape: str) -> None:
    X, y = SHAPES[shape](300)
    assert adjusted_rand_score(y, SCNcut(2, random_state=0).fit(X).labels_) == 1
    assert adjusted_rand_score(y, KMeans(2, random_state=0).fit(X).labels_) < 0.5


def test_normalised_cuts_embed_by_the_smallest_generalised_eigenvectors() -> None:
    X = load_digits().data[:250] / 16
    graph = gaussian_weights(knn_graph(X, 8), bandwidth="local")
    method = SCNcut(6, random_state=0).fit(X, graph=graph)
    W = graph.toarray().astype(np.float64)
    degrees = np.diag(W.sum(axis=1))
    values, _ = scipy.linalg.eigh(degrees - W, degrees)
    V = method.embedding_
    assert V.shape == (250, 6)
    np.testing.assert_allclose((degrees - W) @ V, degrees @ V * values[:6], atol=1e-7)
    np.testing.assert_allclose(V.T @ degrees @ V, np.eye(6), atol=1e-7)


def test_normalised_cuts_find_the_components_of_a_graph() -> None:
    y = np.repeat([0, 1, 2], [30, 20, 10])
    X = np.random.default_rng(0).normal(size=(60, 2)) + 1000 * y[:, None]
    assert adjusted_rand_score(y, SCNcut(3, n_neighbors=5, random_state=0).fit(X).labels_) == 1


@pytest.mark.parametrize("name", ["sc_ncut", "graph_modularity"])
@pytest.mark.parametrize("far", [10, 30, 1000])
def test_a_far_sample_leaves_the_clusters_of_the_others_as_they_are(name: str, far: float) -> None:
    y = np.repeat([0, 1, 2], 40)
    centers = np.array([[0.1, 0.1], [0.15, 0.1], [0.125, 0.15]])
    X = np.random.default_rng(0).normal(size=(120, 2)) * 0.01 + centers[y]
    alone = methods.load(name)(3, random_state=0).fit(X)
    beside = methods.load(name)(3, random_state=0).fit(np.r_[X, [[0.125, far]]] / far)
    assert adjusted_rand_score(y, alone.labels_) > 0.9
    assert adjusted_rand_score(alone.labels_, beside.labels_[:120]) == 1
    if name == "sc_ncut":
        np.testing.assert_allclose(
            np.abs(beside.embedding_).max(axis=0), np.abs(alone.embedding_).max(axis=0), rtol=0.1
        )


def test_normalised_cuts_tell_a_group_of_faint_edges_apart() -> None:
    y = np.repeat([0, 1, 2], [30, 20, 3])
    W = (y[:, None] == y) * np.where(y == 2, 1e-80, 1.0)
    W[[0, 30], [30, 0]] = 1e-3
    W[[0, 50], [50, 0]] = 1e-200
    np.fill_diagonal(W, 0)
    method = SCNcut(3, random_state=0).fit(np.zeros((53, 1)), graph=sp.csr_matrix(W))
    assert adjusted_rand_score(y, method.labels_) == 1
    assert np.abs(method.embedding_).max() < 1e7


def test_a_graph_made_by_fit_joins_all_samples_where_there_are_too_few() -> None:
    X = np.random.default_rng(0).normal(size=(5, 2))
    assert (neighbour_graph(X, 10).toarray() > 0).tolist() == (~np.eye(5, dtype=bool)).tolist()
    with pytest.raises(UserError, match="at least 2 samples, got n_samples=1"):
        neighbour_graph(X[:1], 10)
