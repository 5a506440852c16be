"""ASPC-DA: its weights and loss against plain loops, its fixed centres, its stop, and what its settings change."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from deepclust.errors import NotApplicable
from deepclust.methods import _deep
from deepclust.methods._flat_clustering import k_means
from deepclust.methods.self_training.aspc_da import ASPCDA, easy
from deepclust.nets._augmentation import augment
from deepclust.nets._autoencoder import Autoencoder
from deepclust.settings import Augmentation
from deepclust.training.loop import Outcome, Refresh, train
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import aspc_da as reference

N = 600
X = load_digits().data[:N].astype(np.float32) / 16


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    settings = {"hidden": [64], "n_embedding": 10, "epochs": 30, "batch_size": 64, "augmentation": {"crop": 0.0}}
    return pretrain(torch.from_numpy(X), network_of(settings), seed=0, image_shape=(1, 8, 8))[0]


@pytest.fixture(scope="module")
def codes(network: Autoencoder) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = network.encode(torch.from_numpy(X)).numpy()
    return found


def quick(**settings: Any) -> ASPCDA:
    short = {"random_state": 0, "epochs": 4, "batch_size": 64, "n_init": 3, "tolerance": 0.0, "device": "cpu"}
    return ASPCDA(10, **{**short, **settings})


def start(codes: np.ndarray, method: ASPCDA) -> np.ndarray:
    found: np.ndarray = k_means(codes, 10, n_init=method.n_init, random_state=method._seed).cluster_centers_
    return found


class Pass:
    """All codes when a pass over the samples has been made, and what the pass said."""

    def __init__(self, state: Any, data: Tensor) -> None:
        with torch.no_grad():
            self.codes = state.network.eval().encode(data).numpy()
        self.labels, self.weights = state.labels.tolist(), state.weights.tolist()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Pass]:
    found: list[Pass] = []

    def training(state: Any, data: Tensor, terms: Any, *, refresh: Refresh, **rest: Any) -> Outcome:
        def compute() -> Tensor:
            labels = refresh.compute()
            found.append(Pass(state, data))
            return labels

        return train(state, data, terms, refresh=replace(refresh, compute=compute), **rest)

    monkeypatch.setattr(_deep, "train", training)
    return found


# ------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("t", [0, 1, 7, 10])
@pytest.mark.parametrize("seed", range(3))
def test_weights_keep_what_lies_below_the_growing_threshold(seed: int, t: int) -> None:
    distances = np.random.default_rng(seed).exponential(size=50)
    assert easy(torch.from_numpy(distances), t / 10).tolist() == reference.weights(distances.tolist(), t, 10)


def test_threshold_rises_from_the_mean_to_the_mean_and_one_standard_deviation() -> None:
    distances = torch.tensor([0.0, 0.0, 0.0, 4.0, 6.0], dtype=torch.float64)  # mean 2, standard deviation sqrt(6.4)
    assert [easy(distances, share).tolist() for share in (0.0, 0.75, 0.8, 1.0)] == [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0],
    ]


def test_every_pass_labels_and_weighs_the_clean_codes(
    network: Autoencoder, codes: np.ndarray, passes: list[Pass]
) -> None:
    method = quick(learning_rate=1e-3).fit(X, network=network)
    assert len(passes) == 4
    np.testing.assert_array_equal(passes[0].codes, codes)
    for number, found in enumerate(passes):
        labels, distances = reference.assigned(found.codes, start(codes, method))
        assert found.labels == labels
        assert found.weights == ([1.0] * N if number == 0 else reference.weights(distances, number - 1, 4))
        assert method.trace_[number]["kept"] == pytest.approx(np.mean(found.weights))
        assert method.trace_[number]["alive"] == len(set(labels))
    assert 0.4 < method.trace_[1]["kept"] < 0.9


def test_batches_minimise_the_weighted_distance_to_the_fixed_targets(
    network: Autoencoder, codes: np.ndarray, passes: list[Pass]
) -> None:
    """Batches of all samples, of which each loss is that of the codes before the step."""
    method = quick(augment=False, batch_size=N, learning_rate=1e-3).fit(X, network=network)
    for row, found in zip(method.trace_, passes, strict=True):
        expected = reference.loss(found.codes, start(codes, method), found.labels, found.weights)
        assert row["loss"] == pytest.approx(expected, rel=1e-4)


# ------------------------------------------------------------------------------------------------------- training


def test_without_maps_and_weights_the_objective_of_kmeans_falls_every_epoch(
    network: Autoencoder, passes: list[Pass], codes: np.ndarray
) -> None:
    method = quick(augment=False, self_paced=False, epochs=6).fit(X, network=network)
    inertia = [sum(reference.assigned(found.codes, start(codes, method))[1]) for found in passes]
    assert all(later < earlier for earlier, later in itertools.pairwise(inertia))
    assert all(row["kept"] == 1 for row in method.trace_)


def test_centres_and_decoder_stay_as_they_were_and_the_encoder_does_not(
    network: Autoencoder, codes: np.ndarray
) -> None:
    method = quick().fit(X, network=network)
    np.testing.assert_array_equal(method.cluster_centers_, start(codes, method))
    np.testing.assert_array_equal(method.extras_["embedding_before"], codes)
    assert np.abs(method.embedding_ - codes).max() > 1e-2
    for name, tensor in network.decoder.state_dict().items():
        assert torch.equal(method.network_.decoder.state_dict()[name], tensor), name


def test_mapped_images_are_drawn_to_the_centres_of_the_clean_ones(network: Autoencoder) -> None:
    trace = quick(self_paced=False, epochs=10, learning_rate=1e-3).fit(X, network=network).trace_
    assert trace[-1]["loss"] < 0.7 * trace[0]["loss"]


def test_training_stops_once_few_labels_changed_in_an_epoch(network: Autoencoder) -> None:
    method = quick(epochs=20, tolerance=0.99).fit(X, network=network)
    assert (method.n_iter_, method.converged_) == (N // 64, True)
    assert [row["label_change"] is None for row in method.trace_] == [True, False]
    assert not quick().fit(X, network=network).converged_


# ------------------------------------------------------------------------------------------------------------ maps


def test_images_are_turned_and_shifted_but_not_cropped(network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noting(x: Tensor, maps: Augmentation, *rest: Any) -> Tensor:
        seen.append(maps)
        return augment(x, maps, *rest)

    monkeypatch.setattr(_deep, "augment", noting)
    default = quick(epochs=2).fit(X, network=network)
    assert seen == [Augmentation(rotation=10.0, shift=0.1, crop=0.0)] * default.n_iter_
    plain = quick(epochs=2, augment=False).fit(X, network=network)
    assert len(seen) == default.n_iter_
    assert plain.trace_[0]["loss"] < default.trace_[0]["loss"]
    asked = quick(epochs=2, augment=True).fit(X, network=network)
    np.testing.assert_array_equal(asked.embedding_, default.embedding_)
    quick(epochs=2, augment={"crop": 0.0, "fill": "border"}).fit(X, network=network)
    assert seen[-1] == Augmentation(crop=0.0, fill="border")


def test_rows_that_are_no_images_are_learnt_as_they_are_or_refused() -> None:
    flat = {"pretraining": {"hidden": [16], "epochs": 1}, "epochs": 2}
    default, plain = (quick(augment=value, **flat).fit(X) for value in (None, False))
    np.testing.assert_array_equal(default.embedding_, plain.embedding_)
    with pytest.raises(NotApplicable, match="image shape; leave `augment` out"):
        quick(augment=True, **flat).fit(X)


def test_identical_samples_do_not_break_it() -> None:
    same = np.full((40, 6), 0.5, dtype=np.float32)
    with pytest.warns(match="distinct clusters"):
        method = quick(pretraining={"hidden": [16], "epochs": 1}, batch_size=16, epochs=3).fit(same)
    assert np.isfinite(method.embedding_).all()
    assert len(set(method.labels_)) == 1
