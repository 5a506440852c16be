"""DynAE: its targets and thresholds against plain loops, its centres, and its stop."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from deepclust.losses.student_t import soft_assignment
from deepclust.methods._flat_clustering import k_means
from deepclust.methods.self_training.dynae import DynAE, DynAEState
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import dynae as reference

N = 600
X = load_digits().data[:N].astype(np.float32) / 16
ROWS = torch.from_numpy(X)


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    settings = {"hidden": [64], "n_embedding": 10, "epochs": 30, "batch_size": 64}
    return pretrain(ROWS, network_of(settings), seed=0, image_shape=(1, 8, 8))[0]


@pytest.fixture(scope="module")
def codes(network: Autoencoder) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = network.encode(ROWS).numpy()
    return found


def quick(**settings: Any) -> DynAE:
    short = {"random_state": 0, "epochs": 3, "batch_size": 64, "n_init": 3, "update_interval": 9, "device": "cpu"}
    return DynAE(10, **{**short, **settings})


def centers_of(method: DynAE, codes: np.ndarray) -> np.ndarray:
    """Return the code nearest to each k-means centre."""
    found = k_means(codes, 10, n_init=method.n_init, random_state=method._seed).cluster_centers_
    distances = np.square(codes[:, None].astype(np.float64) - found).sum(axis=2)
    nearest: np.ndarray = codes[distances.argmin(axis=0)]
    return nearest


def state_of(network: Autoencoder, codes: np.ndarray, kappa: float = 3.0) -> DynAEState:
    return DynAEState(network, torch.from_numpy(codes[:10]), N, 64, kappa)


# -------------------------------------------------------------------------------------------------------- targets


def test_unconflicted_samples_are_those_of_the_table(network: Autoencoder, codes: np.ndarray) -> None:
    state = state_of(network, codes)
    q = soft_assignment(torch.from_numpy(codes), state.centers).numpy()
    for beta in ([0.3, 0.15], [0.2, 0.0], [0.2, -0.1], [0.0, 0.2]):
        state.beta.copy_(torch.tensor(beta))
        settled, labels = state.settled(torch.from_numpy(codes))
        assert settled.tolist() == reference.is_unconflicted(q, *beta)
        assert 10 <= int(settled.sum()) < N
        np.testing.assert_array_equal(labels.numpy(), q.argmax(axis=1))


def test_targets_are_the_centre_and_its_image_or_the_sample_itself(network: Autoencoder, codes: np.ndarray) -> None:
    state = state_of(network, codes)
    settled, labels = state.settled(torch.from_numpy(codes))
    code_target, image_target = state.targets(ROWS)
    with torch.no_grad():
        images = network.decode(torch.from_numpy(codes[:10]))
    for i in range(N):
        code, image = (codes[labels[i]], images[labels[i]]) if settled[i] else (codes[i], X[i])
        np.testing.assert_allclose(code_target[i], code, atol=1e-5)
        np.testing.assert_allclose(image_target[i], image, atol=1e-5)


def test_where_all_are_conflicted_the_loss_is_that_of_a_denoising_autoencoder(network: Autoencoder) -> None:
    method = quick(kappa=1e3, augment=False, batch_size=N, epochs=1, gamma=100.0).fit(X, network=network)
    (row,) = method.trace_
    with torch.no_grad():
        expected = 100 * F.mse_loss(network(ROWS)[1], ROWS).item()
    assert (row["loss_clustering"], row["conflicted"]) == (pytest.approx(0, abs=1e-10), 1)
    assert row["loss_reconstruction"] == pytest.approx(expected, rel=1e-5)
    mapped = quick(kappa=1e3, batch_size=N, epochs=1).fit(X, network=network)
    assert mapped.trace_[0]["loss_clustering"] > 0
    assert mapped.trace_[0]["loss_reconstruction"] > row["loss_reconstruction"]


# --------------------------------------------------------------------------------------- centres and thresholds


def test_centres_are_codes_and_images_their_reconstructions(network: Autoencoder, codes: np.ndarray) -> None:
    method = quick(kappa=0.1, epochs=1).fit(X, network=network)  # hardly a sample is conflicted
    np.testing.assert_array_equal(method.cluster_centers_, centers_of(method, codes))
    np.testing.assert_array_equal(method.extras_["embedding_before"], codes)
    with torch.no_grad():
        images = network.decode(torch.from_numpy(method.cluster_centers_)).numpy()
    np.testing.assert_allclose(method.extras_["decoded_centers"], images, atol=1e-5)


@pytest.mark.parametrize("kappa", [3.0, 1.0])
def test_thresholds_fall_as_in_the_released_code(kappa: float, network: Autoencoder, codes: np.ndarray) -> None:
    state = state_of(network, codes, kappa)
    for falls in range(5):
        assert state.beta.tolist() == pytest.approx(reference.thresholds(kappa, 10, falls), abs=1e-6)
        assert state.count(torch.ones(N, dtype=torch.bool))
    assert [round(10 * fall, 3) for fall in np.diff([reference.thresholds(3.0, 10, n)[0] for n in range(5)])] == [
        -0.9,
        -0.9,
        -0.27,
        -0.081,
    ]


def test_thresholds_fall_where_the_conflicted_samples_did_not_become_fewer(
    network: Autoencoder, codes: np.ndarray
) -> None:
    state = state_of(network, codes)
    found = [state.count(torch.arange(N) < conflicted) for conflicted in (N - 1, 300, 200, 200, 250, 249)]
    assert found == [False, False, False, True, True, False]
    assert state.columns()["conflicted"] == 249 / N
    assert state.conflicts[[0, 199, 200, 249, 299, N - 1]].tolist() == [6, 6, 4, 3, 2, 0]


def test_fall_makes_centres_anew(network: Autoencoder) -> None:
    method = quick(kappa=1e3, epochs=2).fit(X, network=network)  # a check before each epoch
    assert method.trace_[-1]["beta1"] == pytest.approx(reference.thresholds(1e3, 10, 2)[0], rel=1e-5)
    with torch.no_grad():
        distances = torch.cdist(torch.from_numpy(method.cluster_centers_), method.network_.encode(ROWS))
    assert float(distances.amin(dim=1).max()) > 1e-4  # codes of the weights at that check, not of the last ones


# ---------------------------------------------------------------------------------------------------------- stop


def test_training_stops_once_few_samples_are_conflicted(network: Autoencoder) -> None:
    trace = quick(tolerance=0.0).fit(X, network=network).trace_
    share = trace[1]["conflicted"]
    assert 0 < share < 1
    stopped = quick(tolerance=share + 1e-6).fit(X, network=network)
    assert (stopped.n_iter_, stopped.converged_) == (9, True)
    assert not quick(tolerance=0.0).fit(X, network=network).converged_
    assert [row["label_change"] for row in trace] == [None] * 3


def test_training_moves_encoder_and_decoder(network: Autoencoder) -> None:
    method = quick().fit(X, network=network)
    for name, tensor in network.state_dict().items():
        assert not torch.equal(method.network_.state_dict()[name], tensor), name
