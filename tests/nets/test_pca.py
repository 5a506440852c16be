"""The linear network: principal axes by scikit-learn, signs, and data of fewer features."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.pretrain import pretrain
from tests.networks import network_of

X = load_digits().data[:300].astype(np.float32) / 16


def fitted(n_embedding: int, **settings: object) -> Autoencoder:
    return pretrain(
        torch.from_numpy(X), network_of({"network": "pca", "n_embedding": n_embedding, **settings}), seed=0
    )[0]


def test_code_and_reconstruction_are_those_of_principal_components() -> None:
    network, expected = fitted(8), PCA(8).fit(X.astype(np.float64))
    with torch.no_grad():
        code, reconstruction = (part.numpy() for part in network(torch.from_numpy(X)))
    signs = np.sign((code * expected.transform(X)).sum(axis=0))
    np.testing.assert_allclose(code * signs, expected.transform(X), atol=1e-4)
    np.testing.assert_allclose(reconstruction, expected.inverse_transform(expected.transform(X)), atol=1e-5)


def test_largest_entry_of_every_axis_is_positive() -> None:
    axes = fitted(8).state_dict()["encoder.0.weight"]
    assert bool((axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)) > 0).all())


@pytest.mark.parametrize("n_embedding", [64, 500])
def test_no_more_features_than_the_data_have_restore_them(n_embedding: int) -> None:
    network = fitted(n_embedding)
    code, reconstruction = network(torch.from_numpy(X))
    assert code.shape == (300, 64)
    np.testing.assert_allclose(reconstruction.detach(), X, atol=1e-5)


def test_a_large_column_that_does_not_vary_is_no_axis() -> None:
    rows = np.random.default_rng(0).normal(0, 0.5, (3000, 4)).astype(np.float32)
    rows[:, 0] = 123456789
    settings = network_of({"network": "pca", "n_embedding": 2})
    network = pretrain(torch.from_numpy(rows), settings, seed=0)[0]
    weights = network.state_dict()["encoder.0.weight"]
    np.testing.assert_allclose(weights[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(network.encode(torch.from_numpy(rows)).detach().var(dim=0), 0.25, rtol=0.1)
