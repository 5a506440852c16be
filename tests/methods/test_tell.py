"""TELL: both forms of its loss, the turns of centres and encoder, its step, and its network."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from deepclust.losses.hypersphere import directions
from deepclust.methods import _deep
from deepclust.methods.centroids import tell
from deepclust.methods.centroids.tell import TELL, TELLState
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.loop import EpochSteps, Outcome, train
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime
from tests.networks import network_of
from tests.references import tell as reference

N = 256
X = load_digits().data[:N].astype(np.float32) / 16
ALPHA, GRADIENT = 1e-3, 0.2


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(torch.from_numpy(X), network_of({"network": "tell"}), seed=0, image_shape=(1, 8, 8))[0]


def quick(n_clusters: int = 10, **settings: Any) -> TELL:
    short: dict[str, Any] = {"random_state": 0, "device": "cpu", "epochs": 4, "batch_size": 64}
    return TELL(n_clusters, **{**short, **settings})


def unit(*shape: int) -> Tensor:
    return directions(torch.randn(*shape, generator=torch.Generator().manual_seed(0)))


def state(network: Autoencoder, centers: Tensor, turn: int = 0) -> TELLState:
    found = TELLState(network, centers, N, ALPHA, GRADIENT)
    for _ in range(turn + 1):
        found.take_turns()
    return found


class Epoch:
    """The network's weights and the directions of the layer when an epoch begins and ends."""

    def __init__(self, state: TELLState) -> None:
        self.weights = [value.clone() for value in state.network.parameters()]
        self.centers = directions(state.layer.detach())


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[Epoch]:
    found: list[Epoch] = []

    def training(state: TELLState, data: Tensor, terms: Any, *, steps: EpochSteps, **rest: Any) -> Outcome:
        def before() -> None:
            found.append(Epoch(state))
            steps.before()

        outcome = train(state, data, terms, steps=EpochSteps(before, steps.after), **rest)
        found.append(Epoch(state))
        return outcome

    monkeypatch.setattr(_deep, "train", training)
    return found


# ------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("n_clusters", [1, 4, 10])
def test_loss_is_the_layers_and_that_of_spherical_kmeans(network: Autoencoder, n_clusters: int) -> None:
    z, centers = unit(30, 5), unit(n_clusters, 5)
    found = 0.01 / ALPHA * state(network, centers).disagreement(z, torch.arange(30)).item()
    layer = 2 * ALPHA * centers.double().numpy()
    assert found == pytest.approx(reference.clustering(z.numpy(), layer, ALPHA, 0.01), rel=1e-5)
    assert found == pytest.approx(reference.spherical(z.numpy(), centers.numpy(), 0.01), rel=1e-5)


def test_loss_is_zero_where_all_codes_are_the_only_centre(network: Autoencoder) -> None:
    center = unit(1, 5)
    loss = state(network, center).disagreement(center.expand(7, 5), torch.arange(7))
    assert loss.item() == pytest.approx(0, abs=1e-9)


def test_step_moves_centres_as_written_and_those_without_samples_not(network: Autoencoder) -> None:
    z, centers = unit(30, 5), unit(6, 5)
    z = z[(z @ centers.T).argmax(dim=1) != 2]
    now = state(network, centers)
    optimizer = torch.optim.Adadelta([now.layer], lr=1.0, eps=1e-6)
    now.disagreement(z, torch.arange(len(z))).backward()
    assert now.layer.grad is not None
    lengths = now.layer.grad.norm(dim=1)
    expected = torch.full((6,), GRADIENT * ALPHA).index_fill_(0, torch.tensor([2]), 0.0)
    torch.testing.assert_close(lengths, expected)
    optimizer.step()
    now.disagreement(z, torch.arange(len(z)))  # scales the rows
    by_hand = reference.step(z.double().numpy(), 2 * ALPHA * centers.double().numpy(), ALPHA, GRADIENT)
    np.testing.assert_allclose(now.layer.detach(), by_hand, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(now.layer.detach()[2], 2 * ALPHA * centers[2], rtol=1e-5)
    # against AdaDelta's eps the gradient is small: the step is nearly the gradient itself
    labels = (z @ centers.T).argmax(dim=1)
    pulls = torch.stack([z[labels == k].sum(dim=0) for k in range(6)])
    pulls /= pulls.norm(dim=1, keepdim=True).clamp_min(1e-12)
    nearly = centers + GRADIENT / 2 * pulls
    nearly /= nearly.norm(dim=1, keepdim=True)
    assert (nearly * torch.from_numpy(by_hand) / (2 * ALPHA)).sum(dim=1).min() > 0.9999


def test_codes_are_drawn_in_the_encoders_turn_and_the_layer_in_the_other(network: Autoencoder) -> None:
    centers = unit(6, 5)
    for turn in range(4):
        z, now = unit(30, 5).requires_grad_(), state(network, centers, turn)
        loss = now.disagreement(z, torch.arange(30))
        loss.backward()
        assert (z.grad is not None) == (turn % 2 == 1)
        assert (now.layer.grad is not None) == (turn % 2 == 0)
        assert now.columns()["alive"] == len(set((z @ centers.T).argmax(dim=1).tolist()))


# ------------------------------------------------------------------------------------------------------- training


def test_centres_move_in_even_epochs_alone_and_the_network_in_all(network: Autoencoder, epochs: list[Epoch]) -> None:
    method = quick().fit(X, network=network)
    still = [torch.allclose(a.centers, b.centers, rtol=1e-5) for a, b in itertools.pairwise(epochs)]
    assert still == [False, True, False, True]
    assert [row["turn"] for row in method.trace_] == ["centers", "encoder"] * 2
    for a, b in itertools.pairwise(epochs):
        assert all(not torch.equal(old, new) for old, new in zip(a.weights, b.weights, strict=True))
    np.testing.assert_allclose(np.linalg.norm(method.cluster_centers_, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(method.cluster_centers_, epochs[-1].centers, atol=1e-6)


def test_centres_have_length_one_whatever_alpha_is(network: Autoencoder) -> None:
    method = quick(alpha=1e-6, epochs=1).fit(X, network=network)
    np.testing.assert_allclose(np.linalg.norm(method.cluster_centers_, axis=1), 1, rtol=1e-5)


def test_codes_have_their_length_from_float32_where_products_are_in_bfloat16(
    network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noted(z: Tensor) -> Tensor:
        seen.append(z.dtype)
        return directions(z)

    monkeypatch.setattr(tell, "directions", noted)
    with Runtime(1, "bfloat16").open():
        quick(epochs=1).fit(X, network=network)
    assert set(seen) == {torch.float32}


def test_without_its_weight_the_clustering_leaves_the_network_alone(network: Autoencoder) -> None:
    first, other = (quick(weight=0.0, n_clusters=k).fit(X, network=network) for k in (3, 10))
    np.testing.assert_array_equal(first.embedding_, other.embedding_)
    with_it = quick(n_clusters=3).fit(X, network=network)
    assert np.abs(with_it.embedding_ - first.embedding_).max() > 1e-3


def test_both_losses_fall_and_labels_are_the_centres_of_largest_cosine(network: Autoencoder) -> None:
    method = quick(epochs=12, batch_size=32).fit(X, network=network)
    for term in ("loss_reconstruction", "loss_clustering"):
        assert method.trace_[-1][term] < method.trace_[0][term]
    np.testing.assert_array_equal(method.labels_, (method.embedding_ @ method.cluster_centers_.T).argmax(axis=1))
    assert 1 < method.trace_[-1]["alive"] <= 10  # how many stay alive of ten differs between processors
    assert method.extras_["decoded_centers"].shape == (10, 64)


# ---------------------------------------------------------------------------------------------------- the network


def test_network_ends_in_a_sigmoid_and_has_nothing_before_its_transposed_convolutions() -> None:
    encoder, decoder = network_of({"network": "tell"}).layers(784, (1, 28, 28))
    kinds = [type(layer) for layer in decoder]
    assert kinds[:4] == [nn.Linear, nn.ReLU, nn.Linear, nn.Unflatten]
    assert kinds[-3:] == [nn.ConvTranspose2d, nn.Flatten, nn.Sigmoid]
    same, other = network_of({"network": "random_conv"}).layers(784, (1, 28, 28))
    assert str(encoder) == str(same)
    assert len(decoder) == len(other)
