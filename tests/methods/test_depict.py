"""DEPICT: targets and loss against the formulas, the two starts, the stages, and its network."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from deepclust.errors import NotApplicable, UserError
from deepclust.losses.student_t import target_distribution
from deepclust.methods._flat_clustering import k_means
from deepclust.methods.graph.ac_gdl import ACGDL
from deepclust.methods.self_training import depict
from deepclust.methods.self_training.depict import DEPICT, DEPICTState, balanced_target
from deepclust.nets import _layerwise
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._layerwise import passes
from deepclust.training.loop import Outcome, train
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import depict as reference

X = load_digits().data[:300].astype(np.float32) / 16
SMALL: dict[str, Any] = {"network": "depict", "channels": [6, 8], "epochs": 20, "batch_size": 30, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(torch.from_numpy(X), network_of(SMALL), seed=0, image_shape=(1, 8, 8))[0]


def quick(**settings: Any) -> Any:
    short: dict[str, Any] = {"warm_up": 2, "epochs": 2, "batch_size": 30, "n_init": 2, "learning_rate": 1e-3}
    return DEPICT(10, **{"random_state": 0, "device": "cpu", **short, **settings})


def soft(n_samples: int = 40, n_clusters: int = 5) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(0).dirichlet([2, 1, 1, 0.5, 0.1][:n_clusters], size=n_samples)
    return found


def entropy(q: Tensor) -> float:
    means = q.mean(dim=0)
    return -float((means * means.log()).sum())


# ---------------------------------------------------------------------------------------------------- the target


def test_balanced_target_equals_the_formula() -> None:
    p = soft()
    q = balanced_target(torch.from_numpy(p))
    np.testing.assert_allclose(q, reference.balanced_target(p), rtol=1e-12)
    np.testing.assert_allclose(q.sum(dim=1), 1, rtol=1e-12)


def test_balanced_target_evens_out_sizes_and_sharpens_nothing() -> None:
    p = torch.from_numpy(soft())
    assert entropy(balanced_target(p)) > entropy(p) + 0.05
    assert entropy(balanced_target(p)) > entropy(target_distribution(p))
    uniform = torch.full((6, 4), 0.25)
    torch.testing.assert_close(balanced_target(uniform), uniform)
    hard = torch.eye(4)[[0, 0, 0, 1, 2]]
    torch.testing.assert_close(balanced_target(hard), hard)  # the last cluster stays empty


# ------------------------------------------------------------------------------------------------ the two passes


def test_errors_of_layers_equal_the_formula(network: Autoencoder) -> None:
    x = torch.from_numpy(X[:7])
    found = passes(network, x, 0.0, torch.Generator())
    scaled = 2 * x - 1
    first = nn.Sequential(*network.encoder[1:4])(scaled)
    second = nn.Sequential(*network.encoder[4:6])(first)
    code = nn.Sequential(*network.encoder[6:])(second)
    up_second = nn.Sequential(*network.decoder[:3])(code)
    up_first = nn.Sequential(*network.decoder[3:5])(up_second)
    output = nn.Sequential(*network.decoder[5:8])(up_first)
    values = [part.detach().double().numpy() for part in (first, up_first, second, up_second, scaled, output)]
    assert found.hidden.item() == pytest.approx(
        reference.mean_squared_error(*values[:2]) + reference.mean_squared_error(*values[2:4]), rel=1e-5
    )
    assert found.data.item() == pytest.approx(reference.mean_squared_error(*values[4:]), rel=1e-5)
    torch.testing.assert_close(found.clean, network.encode(x))
    torch.testing.assert_close(found.noisy, found.clean)  # there is no noise


@pytest.mark.parametrize(
    ("settings", "shape", "units"),
    [
        (SMALL, (1, 8, 8), [1, 6]),
        ({"hidden": [9, 8, 7]}, None, [64, 9, 8]),
        ({"hidden": [9]}, None, [64]),
        ({"hidden": [9, 8], "activation": "sigmoid"}, None, [64, 9]),
        ({"network": "conv", "channels": [3, 4, 5]}, (1, 8, 8), [1, 3, 4]),
    ],
    ids=["depict", "mlp", "one hidden layer", "sigmoid", "conv"],
)
def test_noise_is_on_the_input_and_hidden_layers_but_the_last(
    settings: dict[str, Any], shape: Any, units: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network_of(settings).build(64, shape, torch.Generator().manual_seed(0))
    seen = list[int]()

    def drop(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
        assert probability == 0.3
        seen.append(x.shape[1])
        return x * 0

    monkeypatch.setattr(_layerwise, "drop", drop)
    x = torch.from_numpy(X[:5])
    found = passes(net, x, 0.3, torch.Generator())
    assert seen == units
    torch.testing.assert_close(found.clean, net.encode(x))
    torch.testing.assert_close(found.noisy, found.noisy[:1].expand(5, -1))  # nothing of x is left
    assert found.hidden > 0


# ----------------------------------------------------------------------------------------------------- the method


def test_one_step_descends_the_written_loss(network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []

    def training(state: Any, data: Tensor, terms: Any, *, phase: str, **rest: Any) -> Outcome:
        if phase == "cluster":
            state.q.copy_(balanced_target(state.p))
            index = torch.arange(0, 60, 7)
            parameters = [*state.parameters()]
            found = torch.autograd.grad(sum(terms(data[index], index, torch.Generator()).values()), parameters)
            both = passes(state.network, data[index], 0.0, torch.Generator())
            logits = both.noisy @ state.softmax.weight.T + state.softmax.bias
            entropies = torch.nn.functional.cross_entropy(logits, state.q[index])
            expected = torch.autograd.grad(entropies + 0.5 * (both.data + 0.3 * both.hidden), parameters)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
            by_hand = reference.cross_entropy(state.q[index].double().numpy(), logits.detach().double().numpy())
            losses.append((entropies.item(), by_hand))
            p = state.probabilities(state.network.encode(data)).detach()
            torch.testing.assert_close(state.p, p, rtol=1e-4, atol=1e-6)
        return train(state, data, terms, phase=phase, **rest)

    monkeypatch.setattr(depict, "train", training)
    quick(corruption=0.0, reconstruction_weight=0.5, layer_weight=0.3).fit(X, network=network)
    ((found, by_hand),) = losses
    assert found == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("by", ["k_means", "path_integral"])
def test_start_is_the_unit_centroids_and_the_labels_of_a_clustering(
    by: str, network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[DEPICTState] = []

    def training(state: Any, *_: Any, **__: Any) -> Outcome:
        states.append(state)
        return Outcome([], 1, False)

    monkeypatch.setattr(depict, "train", training)
    method = quick(start=by).fit(X, network=network)
    codes = method.embedding_
    if by == "k_means":
        start = k_means(codes, 10, n_init=2, random_state=method._seed)
        labels, centroids = start.labels_, start.cluster_centers_
    else:
        labels = ACGDL(10, normalize=False, affinity="path_integral").fit_predict(codes)
        centroids = np.stack([codes[labels == k].mean(axis=0) for k in range(10)])
    lengths = np.linalg.norm(centroids, axis=1, keepdims=True)
    np.testing.assert_allclose(states[0].softmax.weight.detach(), centroids / lengths, rtol=1e-4, atol=1e-6)
    assert (states[0].softmax.bias == 0).all()
    np.testing.assert_array_equal(states[0].q.argmax(dim=1), labels)
    cosines = codes @ (centroids / lengths).T
    np.testing.assert_array_equal(method.labels_, cosines.argmax(axis=1))


@pytest.mark.parametrize("target", ["balanced", "sharpened"])
def test_targets_are_made_before_every_epoch_of_the_last_batches(
    target: str, network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Tensor, Tensor]] = []  # the p of all samples, and the target made of it
    function = balanced_target if target == "balanced" else target_distribution

    def noting(p: Tensor) -> Tensor:
        made.append((p.clone(), function(p)))
        return made[-1][1]

    monkeypatch.setattr(depict, function.__name__, noting)
    method = quick(target=target, epochs=3).fit(X, network=network)
    assert [row["phase"] for row in method.trace_] == ["warm_up"] * 2 + ["cluster"] * 3
    assert len(made) == 3
    for (_, before), (p, after), row in zip(made[:-1], made[1:], method.trace_[3:], strict=True):
        torch.testing.assert_close(p.sum(dim=1), torch.ones(len(X)))
        assert row["target_change"] == pytest.approx((after - before).square().mean().item(), rel=1e-4)
    moved = (made[0][0] != made[1][0]).any(dim=1)
    assert moved.sum() >= len(X) - 30  # all but the first batch, whose p are those before any step


def test_warm_up_teaches_the_labels_of_kmeans(network: Autoencoder) -> None:
    codes = network.encode(torch.from_numpy(X)).detach().numpy()
    methods = [quick(warm_up=epochs, epochs=1, learning_rate=3e-3).fit(X, network=network) for epochs in (0, 12)]
    start = k_means(codes, 10, n_init=2, random_state=methods[0]._seed).labels_
    without, taught = (adjusted_rand_score(start, method.labels_) for method in methods)
    assert taught > max(without, 0.85)


@pytest.mark.parametrize("target", ["balanced", "sharpened"])
def test_training_goes_on_from_the_warm_up_and_keeps_all_clusters(target: Any, network: Autoencoder) -> None:
    taught, method = (
        quick(target=target, warm_up=12, epochs=epochs, learning_rate=3e-3).fit(X, network=network)
        for epochs in (1, 20)
    )
    cluster = [row for row in method.trace_ if row["phase"] == "cluster"]
    assert cluster[0]["loss"] == taught.trace_[-1]["loss"] < method.trace_[0]["loss"]
    assert 0.6 < adjusted_rand_score(taught.labels_, method.labels_) < 1
    assert cluster[-1]["alive"] == 10
    if target == "sharpened":  # the balanced target does not sharpen, and its entropy is part of the loss
        assert cluster[-1]["loss"] < 0.9 * cluster[0]["loss"]


def test_a_graph_needs_two_samples(network: Autoencoder) -> None:
    with pytest.raises(UserError, match="a graph needs at least 2 samples, got n_samples=1"):
        DEPICT(1, start="path_integral").fit(X[:1], network=network)


def test_settled_labels_end_the_training_where_asked(network: Autoencoder) -> None:
    assert not quick().fit(X, network=network).converged_
    method = quick(epochs=20, tolerance=0.99).fit(X, network=network)
    assert method.converged_
    assert [row["loss"] is None for row in method.trace_] == [False, False, False, True]


# ---------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize(("side", "sides"), [(28, (13, 7)), (16, (7, 4)), (8, (3, 2)), (21, (9, 5)), (32, (15, 8))])
def test_sizes_are_those_of_the_released_code_and_are_retraced(side: int, sides: tuple[int, int]) -> None:
    shape = (1, side, side)
    net = network_of({"network": "depict"}).build(math.prod(shape), shape, torch.Generator().manual_seed(0))
    x = torch.rand(2, side * side, generator=torch.Generator().manual_seed(1))
    images = [2 * x.view(2, *shape) - 1]
    for layer in list(net.encoder)[2:6]:
        images.append(layer(images[-1]))
    assert [image.shape[1:] for image in images[2::2]] == [(50, n, n) for n in sides]
    code, reconstruction = net(x)
    torch.testing.assert_close(code, nn.Sequential(*net.encoder[6:])(images[-1]))
    assert code.abs().max() < 1
    assert reconstruction.shape == x.shape
    assert reconstruction.min() >= 0
    assert reconstruction.max() <= 1


def test_pretraining_restores_layers_from_noise(network: Autoencoder) -> None:
    _, outcome = pretrain(torch.from_numpy(X), network_of(SMALL), seed=0, image_shape=(1, 8, 8))
    first, last = outcome.trace[0], outcome.trace[-1]
    assert last["loss_reconstruction"] < 0.6 * first["loss_reconstruction"]
    found = passes(network, torch.from_numpy(X), 0.1, torch.Generator().manual_seed(0))
    assert last["loss_reconstruction"] == pytest.approx(found.data.item(), rel=0.1)
    assert last["loss_layers"] == pytest.approx(0.1 * found.hidden.item(), rel=0.1)
    with pytest.raises(NotApplicable, match="needs images"):
        network_of(SMALL).build(64, None, torch.Generator())
    with pytest.raises(NotApplicable, match="images of 3 x 8 are too small for 2 convolutions"):
        network_of(SMALL).build(24, (1, 3, 8), torch.Generator())
