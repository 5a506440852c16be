"""DeepCluster: whitening, even sampling and the head against what is written, and what an epoch trains on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from deepclust.methods import _deep
from deepclust.methods._flat_clustering import k_means
from deepclust.methods.self_training.deepcluster import (
    DeepCluster,
    DeepClusterState,
    evenly_drawn,
    pseudo_labels,
    whitened,
    whitening,
)
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.loop import Outcome
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import deepcluster as reference

N = 300
DIGITS = load_digits()
X = DIGITS.data[:N].astype(np.float32) / 16
SMALL: dict[str, Any] = {"network": "untrained_conv", "channels": [8, 16, 32], "n_embedding": 32}


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(torch.from_numpy(X), network_of(SMALL), seed=0, image_shape=(1, 8, 8))[0]


def quick(**settings: Any) -> DeepCluster:
    short: dict[str, Any] = {"random_state": 0, "device": "cpu", "epochs": 3, "batch_size": 50, "n_init": 3}
    return DeepCluster(10, **{**short, **settings})


class Epoch:
    """The state, and the codes of all samples, when an epoch's clusters have been made."""

    def __init__(self, state: DeepClusterState, data: Tensor) -> None:
        with torch.no_grad():
            self.codes = state.network.eval().encode(data).numpy()
        self.labels, self.drawn = state.labels.numpy().copy(), state.drawn.numpy().copy()
        self.weight = state.head.weight.detach().numpy().copy()


@pytest.fixture
def epochs(watched_epochs: Callable) -> list[Epoch]:
    found: list[Epoch] = watched_epochs(lambda state, data, _: Epoch(state, data))
    return found


# ------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("n_components", [3, 8, 20])
def test_features_are_whitened_components_of_length_one(n_components: int) -> None:
    codes = np.random.default_rng(0).normal(size=(60, 8)) @ np.diag([9, 5, 3, 2, 1, 1, 0.5, 0]) + 7
    found = whitened(codes, **whitening(codes, n_components))
    expected = reference.features(codes, n_components)
    assert found.shape == (60, min(n_components, 8))
    np.testing.assert_allclose(np.abs(found @ found.T), np.abs(expected @ expected.T), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    made = whitening(codes, n_components)
    plain = (codes - made["mean"]) @ made["axes"]
    covariance = plain.T @ plain / len(codes)
    kept = min(n_components, 7)  # the eighth direction has no variance
    np.testing.assert_allclose(covariance[:kept, :kept], np.eye(kept), atol=0.005)
    np.testing.assert_allclose(covariance[kept:, kept:], 0, atol=1e-6)


def test_features_without_variance_are_zero() -> None:
    same = np.full((5, 3), 2.0)
    np.testing.assert_array_equal(whitened(same, **whitening(same, 3)), np.zeros((5, 3)))


@pytest.mark.parametrize("sizes", [(1, 10, 1000), (300, 300, 300), (5,), (0, 7, 0, 200)], ids=str)
def test_clusters_are_drawn_equally_often_whatever_their_sizes(sizes: tuple[int, ...]) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    drawn = evenly_drawn(labels, np.random.default_rng(0))
    assert drawn.shape == labels.shape
    alive = sum(size > 0 for size in sizes)
    counts = np.bincount(labels[drawn], minlength=len(sizes))
    each = len(labels) // alive + 1
    assert counts.max() <= each
    assert counts[np.array(sizes) > 0].min() >= each - alive  # the list is cut to N
    for k, size in enumerate(sizes):
        if size > each:
            members = drawn[labels[drawn] == k]
            assert len(set(members)) == len(members)


def test_pseudo_classes_are_those_of_kmeans_and_all_have_samples() -> None:
    features = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    labels = pseudo_labels(features, 40, 0)
    assert len(set(labels)) == 40
    assert not np.array_equal(labels, pseudo_labels(features, 40, 1))
    everyone = pseudo_labels(features[:50], 50, 0)
    assert len(set(everyone)) == 50
    blobs = np.repeat(np.eye(4, dtype=np.float32), 30, axis=0)
    assert len(set(pseudo_labels(blobs, 10, 0))) <= 4  # duplicates leave clusters empty, without a warning


# ------------------------------------------------------------------------------------------------------- training


def test_an_epoch_learns_clusters_of_the_clean_features_with_a_new_head(
    network: Autoencoder, epochs: list[Epoch]
) -> None:
    method = quick(n_pseudo=40).fit(X, network=network)
    assert len(epochs) == 3
    for number, found in enumerate(epochs):
        features = reference.features(found.codes, 64)
        centres = np.stack([features[found.labels == k].mean(axis=0) for k in range(40)])
        nearest = ((features[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        assert np.mean(nearest == found.labels) > 0.9  # Lloyd's iterations end close to a fixed point
        assert found.weight.std() == pytest.approx(0.01, rel=0.1)
        assert method.trace_[number]["alive"] == 40
    agreement = normalized_mutual_info_score(epochs[0].labels, epochs[1].labels)
    assert [row["agreement"] for row in method.trace_[:2]] == [None, pytest.approx(agreement)]
    assert not np.array_equal(epochs[0].weight, epochs[1].weight)
    assert not np.array_equal(epochs[0].drawn, epochs[1].drawn)


def test_loss_is_the_cross_entropy_of_the_drawn_samples(network: Autoencoder, epochs: list[Epoch]) -> None:
    """One batch of all samples, of which the loss is that before the step; the network in training, for BatchNorm."""
    method = quick(epochs=1, batch_size=N, augment=False).fit(X, network=network)
    (found,) = epochs
    trained = pretrain(torch.from_numpy(X), network_of(SMALL), seed=0, image_shape=(1, 8, 8))[0].train()
    with torch.no_grad():
        codes = trained.encode(torch.from_numpy(X[found.drawn])).clamp_min(0).double().numpy()
    expected = reference.cross_entropy(codes @ found.weight.T, found.labels[found.drawn].tolist())
    assert method.trace_[0]["loss"] == pytest.approx(expected, rel=1e-4)


def test_encoder_and_head_follow_sgd_with_and_without_momentum(
    network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def training(*_: Any, optimizer: torch.optim.Optimizer, **__: Any) -> Outcome:
        seen.extend(optimizer.param_groups)
        return Outcome([], 1, False)

    monkeypatch.setattr(_deep, "train", training)
    method = quick().fit(X, network=network)
    expected = [(0.05, 0.9, 1e-5), (0.05, 0.0, 1e-5)]
    assert [(group["lr"], group["momentum"], group["weight_decay"]) for group in seen] == expected
    assert [p.shape for p in seen[0]["params"]] == [p.shape for p in method.network_.encoder.parameters()]
    assert [tuple(p.shape) for p in seen[1]["params"]] == [(100, 32), (100,)]


def test_training_makes_better_clusters_and_leaves_the_decoder(network: Autoencoder) -> None:
    method = quick(epochs=8).fit(DIGITS.data / 16, network=network)
    features = whitened(method.extras_["embedding_before"], **whitening(method.extras_["embedding_before"], 64))
    start = k_means(features, 10, n_init=3, random_state=method._seed).labels_
    before, after = (adjusted_rand_score(DIGITS.target, labels) for labels in (start, method.labels_))
    assert after > before + 0.05
    assert method.trace_[-1]["loss"] < 0.9 * method.trace_[0]["loss"]
    for name, tensor in network.decoder.state_dict().items():
        assert torch.equal(method.network_.decoder.state_dict()[name], tensor), name
