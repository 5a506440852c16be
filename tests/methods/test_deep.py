"""The methods on an autoencoder's code: the read-outs, and DEC's and IDEC's self-training."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from deepclust import execution
from deepclust.errors import NotApplicable, SeedFailed
from deepclust.files import write_json
from deepclust.losses.student_t import kl_divergence, soft_assignment, target_distribution
from deepclust.methods import _deep
from deepclust.methods.baselines.ae_gmm import AEGMM
from deepclust.methods.baselines.ae_kmeans import AEKMeans
from deepclust.methods.baselines.gmm import GMM
from deepclust.methods.baselines.kmeans import KMeans
from deepclust.methods.self_training import _scheme
from deepclust.methods.self_training._scheme import SelfTraining
from deepclust.methods.self_training.dec import DEC
from deepclust.methods.self_training.idec import IDEC
from deepclust.metrics import nmi
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.checkpoint import save_tensors
from deepclust.training.loop import Outcome, Refresh, in_chunks, train
from deepclust.training.pretrain import pretrain
from tests.networks import network_of

SETTINGS = {"hidden": [128, 128, 256], "n_embedding": 10, "epochs": 30, "batch_size": 64}
X, Y = load_digits().data.astype(np.float32) / 16, load_digits().target
both = pytest.mark.parametrize("cls", [DEC, IDEC])


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(torch.from_numpy(X), network_of(SETTINGS), seed=0)[0]


@pytest.fixture(scope="module")
def codes(network: Autoencoder) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = network.encode(torch.from_numpy(X)).numpy()
    return found


def quick(cls: type[SelfTraining], **settings: Any) -> Any:
    return cls(10, **{"random_state": 0, "epochs": 5, "batch_size": 64, "n_init": 3, "device": "cpu", **settings})


# ----------------------------------------------------------------------------------------------------- read-outs


@pytest.mark.parametrize(("deep", "plain"), [(AEKMeans, KMeans), (AEGMM, GMM)])
def test_readout_of_the_code_is_the_plain_method_on_it(
    deep: Any, plain: Any, network: Autoencoder, codes: np.ndarray
) -> None:
    method = deep(10, n_init=2, random_state=0).fit(X, network=network)
    np.testing.assert_array_equal(method.embedding_, codes)
    settings = {key: value for key, value in method.get_params().items() if key != "pretraining"}
    np.testing.assert_array_equal(method.labels_, plain(**settings).fit(codes).labels_)
    for name, tensor in network.state_dict().items():
        assert torch.equal(method.network_.state_dict()[name], tensor), name


@pytest.mark.parametrize("status", ["ok", "failed", "skipped"])
def test_network_is_read_as_the_pretrain_stage_writes_it(
    status: str, network: Autoencoder, codes: np.ndarray, tmp_path: Path
) -> None:
    facts = {
        "uses": "mlp",
        "settings": SETTINGS,
        "n_features": 64,
        "image_shape": [1, 8, 8],
        "status": status,
        "reason": "why",
    }
    write_json(tmp_path / "run.json", facts)
    save_tensors(tmp_path / "weights.safetensors", network.state_dict())
    if status == "ok":
        read = execution.inputs(None, tmp_path)["network"]
        with torch.no_grad():
            np.testing.assert_array_equal(read.encode(torch.from_numpy(X)).numpy(), codes)
    else:
        with pytest.raises(SeedFailed if status == "failed" else NotApplicable, match="pretraining: why"):
            execution.inputs(None, tmp_path)


# ------------------------------------------------------------------------------------------------- self-training


@both
def test_self_training_does_not_fall_below_its_kmeans_start(cls: type[SelfTraining], network: Autoencoder) -> None:
    start = AEKMeans(10, n_init=3, random_state=0, device="cpu").fit(X, network=network)
    method = quick(cls, epochs=25).fit(X, network=network)
    assert nmi(Y, start.labels_) > 0.5
    assert nmi(Y, method.labels_) >= nmi(Y, start.labels_)


def watched(monkeypatch: pytest.MonkeyPatch, seen: Callable[[Any, Tensor, Tensor], None]) -> None:
    """Have `seen` called after every refresh, with the state, the data and the labels."""

    def training(module: Any, data: Tensor, terms: Any, *, refresh: Refresh, **rest: Any) -> Outcome:
        def compute() -> Tensor:
            labels = refresh.compute()
            seen(module, data, labels)
            return labels

        return train(module, data, terms, refresh=replace(refresh, compute=compute), **rest)

    monkeypatch.setattr(_deep, "train", training)


@both
def test_first_refresh_sees_the_kmeans_start(
    cls: type[SelfTraining], network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    watched(monkeypatch, lambda state, data, labels: seen.append(labels.numpy()))
    quick(cls, epochs=1).fit(X, network=network)
    start = AEKMeans(10, n_init=3, random_state=0, device="cpu").fit(X, network=network)
    assert adjusted_rand_score(start.labels_, seen[0]) == 1
    np.testing.assert_array_equal(quick(cls, epochs=0).fit(X, network=network).labels_, start.labels_)


@both
def test_target_comes_from_all_samples_at_every_refresh(
    cls: type[SelfTraining], network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wholes: list[Tensor] = []  # the target of all samples after each refresh
    used: list[tuple[int, Tensor]] = []  # of each batch, the number of refreshes so far and the target
    method = quick(cls, update_interval=10, epochs=2, tolerance=0)

    def seen(state: Any, data: Tensor, labels: Tensor) -> None:
        q = method._soft(in_chunks(state.network.encode, state.network, data), state.centroids)
        wholes.append(target_distribution(q.detach()))

    def divergence(p: Tensor, q: Tensor) -> Tensor:
        used.append((len(wholes), p))
        return kl_divergence(p, q)

    watched(monkeypatch, seen)
    monkeypatch.setattr(_scheme, "kl_divergence", divergence)
    method.fit(X, network=network)
    assert method.n_iter_ == len(used) == 2 * (len(X) // 64)
    assert [number for number, _ in used] == [iteration // 10 + 1 for iteration in range(len(used))]
    for number, p in used:  # a batch's rows are rows of the last whole target, and of no other
        exact = partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = [exact(p, whole).amin(dim=1).max() for whole in wholes]
        assert nearest[number - 1] < 1e-5
        assert all(distance > 1e-4 for place, distance in enumerate(nearest) if place != number - 1)
    assert not any(p.requires_grad for _, p in used)


@both
def test_labels_are_the_likeliest_clusters_under_the_final_weights(
    cls: type[SelfTraining], network: Autoencoder
) -> None:
    method = quick(cls, alpha=2.0).fit(X, network=network)
    q = soft_assignment(torch.from_numpy(method.embedding_), torch.from_numpy(method.cluster_centers_), 2.0)
    np.testing.assert_array_equal(method.labels_, q.argmax(dim=1).numpy())
    with torch.no_grad():
        np.testing.assert_array_equal(method.network_.encode(torch.from_numpy(X)).numpy(), method.embedding_)


@both
def test_training_moves_the_encoder_and_the_centroids(cls: type[SelfTraining], network: Autoencoder) -> None:
    start = AEKMeans(10, n_init=3, random_state=0, device="cpu").fit(X, network=network)
    method = quick(cls).fit(X, network=network)
    assert np.abs(method.embedding_ - start.embedding_).max() > 1e-3
    assert np.abs(method.cluster_centers_ - start.cluster_centers_).max() > 1e-3


@both
def test_divergence_falls_between_refreshes(cls: type[SelfTraining], network: Autoencoder) -> None:
    trace = quick(cls, epochs=10, update_interval=10**6).fit(X, network=network).trace_
    name = "loss_clustering" if cls is IDEC else "loss"
    assert trace[-1][name] < 0.8 * trace[0][name]


def test_decoder_is_dropped_by_dec_and_trained_by_idec(network: Autoencoder) -> None:
    rows = torch.from_numpy(X)
    dec, idec = (quick(cls, epochs=10).fit(X, network=network).network_ for cls in (DEC, IDEC))
    for name, tensor in network.decoder.state_dict().items():
        assert torch.equal(dec.decoder.state_dict()[name], tensor), name
    assert any(not torch.equal(idec.decoder.state_dict()[n], t) for n, t in network.decoder.state_dict().items())
    with torch.no_grad():
        errors = [F.mse_loss(net(rows)[1], rows).item() for net in (network, idec, dec)]
    assert errors[1] < 1.2 * errors[0]
    assert errors[1] < errors[2]


def test_idec_without_divergence_only_reconstructs(network: Autoencoder) -> None:
    method = quick(IDEC, gamma=0.0, epochs=2).fit(X, network=network)
    start = AEKMeans(10, n_init=3, random_state=0, device="cpu").fit(X, network=network)
    np.testing.assert_array_equal(method.cluster_centers_, start.cluster_centers_)
    assert {row["loss_clustering"] for row in method.trace_} == {0.0}


def test_augmented_batches_are_taught_the_targets_of_their_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every map of an image a black one, both terms are those of black images, the targets and labels are not."""
    images, _ = pretrain(torch.from_numpy(X), network_of(SETTINGS | {"epochs": 5}), seed=0, image_shape=(1, 8, 8))
    plain = quick(IDEC, epochs=1, learning_rate=1e-12).fit(X, network=images)
    targets: list[Tensor] = []

    def divergence(p: Tensor, q: Tensor) -> Tensor:
        targets.append(p)
        assert (q == q[0]).all()
        return kl_divergence(p, q)

    monkeypatch.setattr(_deep, "augment", lambda x, *_: torch.zeros_like(x))
    monkeypatch.setattr(_scheme, "kl_divergence", divergence)
    method = quick(IDEC, epochs=1, learning_rate=1e-12, augment=True).fit(X, network=images)
    np.testing.assert_array_equal(method.labels_, plain.labels_)
    assert len(targets[0].unique(dim=0)) == 64
    black = torch.zeros(1, 64)
    with torch.no_grad():
        error = F.mse_loss(images(black)[1], black).item() / float(np.square(X).mean())
    assert method.trace_[0]["loss_reconstruction"] == pytest.approx(error, rel=1e-4)


def test_idec_balances_its_terms_whatever_the_scale_of_the_data(network: Autoencoder) -> None:
    """Data twice as large, and a network that restores them so, have the same ratio of the terms."""
    larger = copy.deepcopy(network)
    with torch.no_grad():
        *_, weight, bias = larger.decoder.parameters()
        for parameter, factor in ((next(larger.encoder.parameters()), 0.5), (weight, 2), (bias, 2)):
            parameter.mul_(factor)
    traces = [
        quick(IDEC, epochs=1, learning_rate=1e-12).fit(scale * X, network=net).trace_
        for scale, net in ((1, network), (2, larger))
    ]
    (one,), (two,) = traces
    assert two["loss_reconstruction"] == pytest.approx(one["loss_reconstruction"], rel=1e-4)


@both
def test_trace_holds_losses_and_label_changes(cls: type[SelfTraining], network: Autoencoder) -> None:
    method = quick(cls, epochs=4, update_interval=30, tolerance=0).fit(X, network=network)
    terms = ["loss_reconstruction", "loss_clustering"] if cls is IDEC else []
    assert [list(row) for row in method.trace_] == [["phase", "epoch", "loss", *terms, "label_change"]] * 4
    changes = [row["label_change"] for row in method.trace_]  # 28 batches an epoch: refreshes at 0, 30, 60, 90
    assert changes[0] is None
    assert all(0 <= change < 0.5 for change in changes[1:])
    assert not method.converged_


@both
def test_without_an_interval_the_target_is_refreshed_once_an_epoch(
    cls: type[SelfTraining], network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[int]()

    def noting(every: int, *rest: Any) -> Refresh:
        seen.append(every)
        return Refresh(every, *rest)

    monkeypatch.setattr(_scheme, "Refresh", noting)
    quick(cls, epochs=1, update_interval=None).fit(X, network=network)
    assert seen == [28]


@both
def test_large_tolerance_stops_at_the_second_refresh(cls: type[SelfTraining], network: Autoencoder) -> None:
    method = quick(cls, epochs=20, update_interval=40, tolerance=0.99).fit(X, network=network)
    assert (method.n_iter_, method.converged_) == (40, True)
    assert len(method.trace_) == 2
    assert method.trace_[-1]["label_change"] < 0.99


def test_broken_down_loss_fails_the_seed(network: Autoencoder) -> None:
    with pytest.raises(SeedFailed, match="'clustering' of phase 'cluster' became nan in epoch 0"):
        quick(DEC, learning_rate=1e38).fit(X, network=network)


def test_a_code_that_overflows_fails_the_seed() -> None:
    X = np.random.default_rng(0).random((120, 64))
    pretraining = {"hidden": [16], "epochs": 1}
    method = DEC(10, epochs=1, batch_size=128, learning_rate=1e30, n_init=1, pretraining=pretraining, random_state=0)
    with pytest.raises(SeedFailed, match="not finite"):
        method.fit(X)
