"""DeepDPM: its densities against loops and SciPy, splits and merges, the number found, and K clusters made of it."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from deepclust.errors import UserError
from deepclust.methods.generative.deepdpm import (
    DeepDPM,
    Mixture,
    Prior,
    log_joint,
    moments,
    two_means,
    union,
)
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import deepdpm as reference


def identity(X: np.ndarray) -> Autoencoder:
    """Return a network whose code are the centred data, turned."""
    return pretrain(torch.from_numpy(X), network_of({"network": "pca"}), seed=0)[0]


def fit(X: np.ndarray, n_clusters: int, **settings: Any) -> DeepDPM:
    return DeepDPM(n_clusters, **{"random_state": 0, "device": "cpu", **settings}).fit(X, network=identity(X))


def blobs(n_blobs: int = 4, n_samples: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % n_blobs
    X = 20 * rng.normal(size=(n_blobs, 3))[y] + rng.normal(size=(n_samples, 3))
    return X.astype(np.float32), y


def prior_of(P: int) -> tuple[Prior, reference.Prior]:
    rng = np.random.default_rng(1)
    mean, psi = rng.normal(size=P), np.cov(rng.normal(size=(P, 9))).reshape(P, P)
    return Prior(mean, 0.3, P + 1.5, psi, 10.0), (mean, 0.3, P + 1.5, psi)


# ------------------------------------------------------------------------------------------------------- densities


@pytest.mark.parametrize("P", [1, 2, 4])
def test_marginal_likelihood_and_ratio_equal_the_predictive_densities(P: int) -> None:
    prior, same = prior_of(P)
    rows = np.random.default_rng(0).normal(size=(11, P)) + 1
    assert prior.log_marginal(moments(rows)) == pytest.approx(reference.log_marginal(rows, same), rel=1e-9)
    ratio = prior.log_ratio(moments(rows[:4]), moments(rows[4:]))
    assert ratio == pytest.approx(reference.log_split_ratio(rows[:4], rows[4:], same, 10.0), rel=1e-8)


def test_modes_are_those_of_the_posterior() -> None:
    prior, same = prior_of(2)
    rows = np.random.default_rng(0).normal(size=(30, 2))
    groups = np.arange(30) % 3
    found = prior.modes(rows, (groups[:, None] == np.arange(3)).astype(float))
    for k in range(3):
        mean, kappa, nu, psi = reference.posterior(rows[groups == k], same)
        assert kappa == pytest.approx(10.3)
        np.testing.assert_allclose(found.means[k], mean)
        np.testing.assert_allclose(found.covariances[k], psi / (nu + 4))  # + P + 2: of mean and covariance together
    np.testing.assert_allclose(np.exp(found.log_weights), 1 / 3)


def test_moments_of_a_union_are_those_of_all_its_rows_and_weights_count_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 3)) + 5
    twice = np.concatenate([rows, rows[:4]])
    for found, expected in (
        (union(moments(rows[:2]), moments(rows[2:])), moments(rows)),
        (moments(rows, 1.0 + (np.arange(9) < 4)), moments(twice)),
    ):
        assert found.n == pytest.approx(expected.n)
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
        np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-10, atol=1e-12)


def test_joint_density_equals_scipys() -> None:
    rng = np.random.default_rng(0)
    rows, means = rng.normal(size=(6, 3)), rng.normal(size=(2, 3))
    covariances = np.stack([np.cov(rng.normal(size=(3, 8))) for _ in range(2)])
    found = log_joint(rows, Mixture(means, covariances, np.log([0.3, 0.7])))
    for k, weight in enumerate((0.3, 0.7)):
        expected = np.log(weight) + multivariate_normal(means[k], covariances[k]).logpdf(rows)
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-10)


@pytest.mark.parametrize("values", [[0.0, 1, 1, 5, 6], [3.0, 3, 3, 4], [0.0, 10, 0, 10, 4, 0]])
def test_cut_in_one_dimension_is_the_best_of_all(values: list[float]) -> None:
    np.testing.assert_array_equal(two_means(np.array(values)), reference.two_means(np.array(values)))


# --------------------------------------------------------------------------------------------- the number found


@pytest.mark.parametrize("initial", [1, 10])
def test_one_gaussian_stays_one_and_far_blobs_are_counted(initial: int) -> None:
    one = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    found = fit(one, 1, initial=initial)
    assert (found.n_components_, found.converged_) == (1, True)
    X, y = blobs()
    found = fit(X, 4, initial=initial)
    assert (found.n_components_, found.converged_) == (4, True)
    assert adjusted_rand_score(y, found.labels_) == 1
    assert [row["components"] for row in found.trace_][-1] == 4
    np.testing.assert_array_equal(found.labels_, found.readouts_["own"])


def test_number_does_not_depend_on_the_scale_of_the_code_unless_codes_stay_as_they_are() -> None:
    X, _ = blobs()
    for factor in (1e-3, 1e3):
        assert fit(factor * X, 4).n_components_ == 4
        assert fit(factor * X, 4, units="length").n_components_ == fit(X, 4, units="length").n_components_
    assert fit(1e-3 * X, 4, units="raw").n_components_ < fit(X, 4, units="raw").n_components_ == 4


@pytest.mark.parametrize("units", ["deviation", "length", "raw"])
def test_components_are_in_the_units_asked_for_and_so_are_new_samples(units: str) -> None:
    X, _ = blobs()
    found = fit(X, 4, units=units)
    codes = found.transform(X).astype(np.float64)
    by = {"deviation": codes.std(axis=0), "length": np.linalg.norm(codes, axis=1, keepdims=True), "raw": 1.0}
    rows = codes / by[units]
    means = np.stack([rows[found.labels_ == k].mean(axis=0) for k in range(4)])
    np.testing.assert_allclose(found.means_[np.argsort(found.cluster_of_)], means, atol=1e-3)
    np.testing.assert_array_equal(found.predict(X), found.labels_)


def test_stops_after_the_rounds_it_is_given() -> None:
    X, _ = blobs()
    found = fit(X, 4, max_rounds=1)
    assert (found.n_components_, found.n_iter_, found.converged_) == (2, 2, False)
    assert [row["changes"] for row in found.trace_] == [1, 0]


# ------------------------------------------------------------------------------------------------- K clusters of it


def test_too_many_components_are_joined_where_they_are_closest() -> None:
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0], [0, 12], [100, 0], [100, 12], [50, 90]])
    y = np.arange(500) % 5
    X = (centers[y] + rng.normal(size=(500, 2))).astype(np.float32)
    found = fit(X, 3)
    assert found.n_components_ == 5
    assert adjusted_rand_score(y, found.readouts_["own"]) == 1
    assert adjusted_rand_score(np.array([0, 0, 1, 1, 2])[y], found.labels_) == 1
    shares = found.predict_proba(X)
    np.testing.assert_array_equal(shares.argmax(axis=1), found.labels_)


def test_too_few_components_are_split() -> None:
    X, y = blobs()
    found = fit(X, 9)
    assert found.n_components_ == 4
    assert set(found.labels_) == set(range(9))
    for label in range(9):
        assert len(set(y[found.labels_ == label])) == 1  # each within one blob


@pytest.mark.parametrize(("row", "count"), [(np.full(3, 0.5), 20), (np.random.default_rng(2).random(6), 50)])
def test_samples_that_are_all_the_same_are_one_cluster(row: np.ndarray, count: int) -> None:
    found = DeepDPM(3, random_state=0, device="cpu", pretraining={"hidden": [8], "epochs": 0}).fit(
        np.tile(row, (count, 1))
    )
    assert found.n_components_ == 1  # codes of equal rows differ by their places in the batch
    assert set(found.labels_) == {0}


def test_network_is_left_as_it_is() -> None:
    X = load_digits().data[:300].astype(np.float32) / 16
    network = pretrain(torch.from_numpy(X), network_of({"network": "pca", "n_embedding": 6}), seed=0)[0]
    found = DeepDPM(10, random_state=0, device="cpu").fit(X, network=network)
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.network_.state_dict()[name], tensor), name


def test_degrees_of_freedom_below_the_codes_size_are_refused() -> None:
    X, _ = blobs()
    with pytest.raises(UserError, match=r"nu must be at least the code's size, 3, got 2; raise it"):
        fit(X, 2, nu=2)
