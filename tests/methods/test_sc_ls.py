"""SC-LS against dense spectral clustering of the graph that its landmarks imply."""

from typing import Any, Literal

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from deepclust.methods.graph.sc_ls import SCLS
from tests.references import landmarks as reference


def samples(n: int = 150) -> np.ndarray:
    found: np.ndarray = load_digits().data[:n] / 16
    return found


def same_span(U: np.ndarray, V: np.ndarray) -> bool:
    """Return whether rows of both, of norm 1, have the same angles between them."""
    return np.allclose(U @ U.T, V @ V.T, atol=1e-8)


@pytest.mark.parametrize("distance", ["squared", "released"])
@pytest.mark.parametrize("settings", [{"n_landmarks": 30, "n_nearest": 4}, {"n_landmarks": 150, "n_nearest": 150}])
def test_embedding_is_that_of_dense_spectral_clustering(
    distance: Literal["squared", "released"], settings: dict[str, Any]
) -> None:
    X = samples()
    method = SCLS(6, distance=distance, random_state=0, **settings).fit(X)
    assert len(method.landmarks_) == settings["n_landmarks"]
    Z = reference.affinities(X, method.landmarks_, settings["n_nearest"], distance)
    W = reference.graph(Z)
    np.testing.assert_allclose(W.sum(axis=1), 1)
    values, vectors = np.linalg.eigh(W)
    assert values[-1] == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(np.abs(vectors[:, -1]), 1 / np.sqrt(len(X)))  # constant, and left out
    U = vectors[:, -7:-1]
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    assert same_span(method.embedding_, U)
    if settings["n_nearest"] == 150:
        np.testing.assert_array_equal(method.landmarks_, X)


def test_affinities_have_so_many_entries_a_row_of_sum_1() -> None:
    X = samples()
    method = SCLS(6, n_landmarks=30, n_nearest=4, random_state=0).fit(X)
    Z = method._affinities(*method._nearest_landmarks(X)[:2])
    np.testing.assert_array_equal(np.diff(Z.indptr), 4)
    np.testing.assert_allclose(Z.toarray(), reference.affinities(X, method.landmarks_, 4, "squared"), atol=1e-12)
    np.testing.assert_allclose(Z.sum(axis=1), 1)


@pytest.mark.parametrize("distance", ["squared", "released"])
def test_new_samples_are_placed_by_their_affinities_to_the_landmarks(distance: Literal["squared", "released"]) -> None:
    X = samples()
    method = SCLS(6, n_landmarks=30, distance=distance, random_state=0).fit(X)
    Z = reference.affinities(X, method.landmarks_, 5, distance)
    values, vectors = np.linalg.eigh(reference.graph(Z))
    U = Z @ np.diag(1 / Z.sum(axis=0)) @ Z.T @ vectors[:, -7:-1] / values[-7:-1]  # Nystroem's extension
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    places = [U[method.labels_ == k].mean(axis=0) for k in range(6)]
    nearest = [int(np.argmin([np.square(u - place).sum() for place in places])) for u in U]
    np.testing.assert_array_equal(method.predict(X + 1e-9), nearest)


def test_only_the_squared_kernel_ignores_the_scale_of_the_data() -> None:
    X = samples()
    for distance, equal in (("squared", True), ("released", False)):
        found = [SCLS(6, n_landmarks=30, distance=distance, random_state=0).fit(scale * X) for scale in (1, 10)]  # type: ignore[arg-type]
        assert same_span(found[0].embedding_, found[1].embedding_) == equal
        if equal:
            np.testing.assert_array_equal(found[0].labels_, found[1].labels_)


def test_cells_of_landmarks_are_the_clusters_where_each_sample_has_one() -> None:
    X = samples()
    method = SCLS(6, n_landmarks=6, n_nearest=1, landmarks="random", random_state=0).fit(X)
    cells = np.square(X[:, None] - method.landmarks_).sum(axis=2).argmin(axis=1)
    assert method.embedding_.shape == (150, 5)  # of as many components as landmarks, less the constant vector
    assert adjusted_rand_score(cells, method.labels_) == 1


def test_landmarks_are_samples_or_means_of_them() -> None:
    X = samples()
    chosen = SCLS(6, n_landmarks=30, landmarks="random", random_state=3).fit(X).landmarks_
    assert set(map(tuple, chosen)) <= set(map(tuple, X))
    means = SCLS(6, n_landmarks=30, random_state=3).fit(X).landmarks_
    errors = [np.square(X[:, None] - found).sum(axis=2).min(axis=1).sum() for found in (chosen, means)]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("distance", ["squared", "released"])
def test_duplicates_among_samples_are_landmarks_like_others(distance: Literal["squared", "released"]) -> None:
    X = np.repeat([[0.0, 0], [1, 0], [0, 1]], 40, axis=0)
    found = SCLS(3, n_landmarks=30, n_nearest=2, distance=distance, random_state=0).fit(X)
    assert adjusted_rand_score(np.repeat([0, 1, 2], 40), found.labels_) == 1
    assert np.isfinite(SCLS(1).fit(np.ones((5, 2))).embedding_).all()
