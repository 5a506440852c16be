"""The classifier taught by a graph: whom it learns from, what it shows them, and where it overrules the graph."""

import copy
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from deepclust.graph.knn import knn_graph
from deepclust.graph.weights import gaussian_weights
from deepclust.methods import _deep
from deepclust.methods.self_expression.graph_classifier import GraphClassifier
from deepclust.metrics import accuracy
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.loop import train
from deepclust.training.pretrain import pretrain
from tests.networks import network_of

X, Y = load_digits().data[:600].astype(np.float32) / 16, load_digits().target[:600]
GRAPH = gaussian_weights(knn_graph(X, 8), bandwidth="local")
SETTINGS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [64, 64], "n_embedding": 8, "epochs": 10, "batch_size": 64},
    "conv": {"network": "conv", "channels": [8, 16], "n_embedding": 8, "epochs": 4, "batch_size": 64},
}


@pytest.fixture(scope="module", autouse=True)
def short_search() -> None:
    """Search whole: the partition is what this method teaches."""


@pytest.fixture(scope="module")
def networks() -> dict[str, Autoencoder]:
    data, shape = torch.from_numpy(X), (1, 8, 8)
    return {name: pretrain(data, network_of(s), seed=0, image_shape=shape)[0] for name, s in SETTINGS.items()}


def classifier(**settings: Any) -> GraphClassifier:
    return GraphClassifier(10, **{"epochs": 15, "batch_size": 64, "random_state": 0, "device": "cpu", **settings})


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_it_learns_the_graphs_labels_and_labels_new_samples(kind: str, networks: dict[str, Autoencoder]) -> None:
    method = classifier(agreement=0.6, epochs=60).fit(X, graph=GRAPH, network=networks[kind])
    assert accuracy(method.readouts_["graph"], method.labels_) > 0.7
    np.testing.assert_array_equal(method.predict(X[:50]), method.labels_[:50])
    assert accuracy(Y, method.labels_) > 0.6  # chance is below 0.2: the labels mean something


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return the teachers of every fit from now on, by their places."""
    found: list[Tensor] = []

    def noting(*args: Any, subset: Tensor, **kwargs: Any) -> Any:
        found.append(subset)
        return train(*args, subset=subset, **kwargs)

    monkeypatch.setattr(_deep, "train", noting)
    return found


def test_only_those_whose_neighbours_agree_teach(networks: dict[str, Autoencoder], taught: list[Tensor]) -> None:
    for agreement in (0.0, 0.9, 1.0):
        classifier(agreement=agreement, epochs=1).fit(X, graph=GRAPH, network=networks["mlp"])
    all_of_them, most, few = map(len, taught)
    assert all_of_them == len(X)
    assert all_of_them > most > few > 0


def test_a_sample_without_edges_does_not_teach(
    networks: dict[str, Autoencoder], taught: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [3, 77, 599]
    joined = sp.diags(1.0 - np.isin(np.arange(len(X)), alone)) @ GRAPH
    affinity = sp.csr_matrix(joined.minimum(joined.T))
    affinity.eliminate_zeros()
    monkeypatch.setattr(GraphClassifier, "_affinity", lambda *_: affinity)
    classifier(agreement=0.0, epochs=1).fit(X, graph=GRAPH, network=networks["mlp"])
    np.testing.assert_array_equal(taught[0].numpy(), np.setdiff1d(np.arange(len(X)), alone))


def test_images_are_shown_moved_and_other_data_as_they_are(
    networks: dict[str, Autoencoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []

    def spy(x: Tensor, settings: Any, generator: Any, shape: tuple[int, int, int]) -> Tensor:
        shapes.append(tuple(shape))
        return x

    monkeypatch.setattr(_deep, "augment", spy)
    plain = copy.deepcopy(networks["mlp"])
    plain.image_shape = None
    classifier(epochs=1).fit(X, graph=GRAPH, network=plain)
    assert shapes == []
    for network in networks.values():
        shapes.clear()
        classifier(epochs=1).fit(X, graph=GRAPH, network=network)
        assert set(shapes) == {(1, 8, 8)}
