"""PC-X: the unit, the loss of a batch, the centroids' moving average, the ablations and what is read off in the end."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from deepclust.errors import NotApplicable
from deepclust.losses.exemplars import moving_average, moving_ratio
from deepclust.methods.centroids import pc_x
from deepclust.methods.centroids.pc_x import PCX, CentroidIntegration, PCXState, _leading_share, _Training
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime
from tests.networks import network_of
from tests.references import pc_x as reference

N, K, P = 300, 10, 6
X = load_digits().data[:N].astype(np.float32) / 16
DATA = torch.from_numpy(X)
SETTINGS = {"hidden": [32, 64], "n_embedding": P, "epochs": 0}


@pytest.fixture(autouse=True)
def read_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the search for modularity, which takes longer than all else here; the common suite runs it."""

    def first_feature(_: PCX, codes: np.ndarray) -> dict[str, np.ndarray]:
        return {"modularity": (codes[:, 0] > np.median(codes[:, 0])).astype(np.int64)}

    monkeypatch.setattr(PCX, "_modularity", first_feature)


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(DATA, network_of(SETTINGS), seed=0)[0]


def method(**settings: Any) -> PCX:
    short = {"epochs": 4, "burn_in": 2, "batch_size": 64, "n_init": 1, "random_state": 0, "device": "cpu"}
    return PCX(K, **{**short, **settings})


def training(network: Autoencoder, **settings: Any) -> _Training:
    """Return what fits hand to the loop, at the start of an epoch."""
    made = method(**settings)
    made._seed, made.network_ = 0, copy.deepcopy(network)
    started = _Training(made, PCXState(made.network_, DATA, made))
    started.before_epoch()
    return started


def batch(started: _Training, rows: slice = slice(0, 64)) -> dict[str, Tensor]:
    return started.terms(DATA[rows], torch.arange(N)[rows], torch.Generator().manual_seed(0))


def encoder_gradients(module: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, materialize_grads=True))


# --------------------------------------------------------------------------------------------------- one batch


@pytest.mark.parametrize("imbalance", [False, True])
@pytest.mark.parametrize("ci_unit", [False, True])
def test_terms_are_the_papers(imbalance: bool, ci_unit: bool, network: Autoencoder) -> None:
    started = training(network, eta1=0.5, eta2=0.25, burn_in=0, imbalance=imbalance, smoothing=2.0, ci_unit=ci_unit)
    state = started.state
    state.sizes = torch.linspace(1, 20, K)
    mu, sizes = state.centroids.numpy().astype(np.float64), state.sizes.numpy().astype(np.float64)
    found = batch(started)
    with torch.no_grad():
        z = state.network.encode(DATA[:64])
        nearest = torch.from_numpy(mu).float()[reference.squared_distances(z.numpy(), mu).argmin(axis=1)]
        output = state.network.decode(state.unit.linear(torch.cat([z, nearest], dim=1)) if state.unit else z)
    codes = z.numpy().astype(np.float64)
    omega = reference.relative_sizes(sizes, 2.0) if imbalance else np.ones(K)
    assert found["reconstruction"].item() == pytest.approx(float(np.mean((output.numpy() - X[:64]) ** 2)), rel=1e-5)
    assert found["clustering"].item() == pytest.approx(0.5 * reference.clustering_loss(codes, mu, omega), rel=1e-5)
    assert found["entropy"].item() == pytest.approx(0.25 * reference.assignment_entropy(codes, mu, 5.0), rel=1e-4)


def test_unit_is_one_linear_layer_on_code_and_centroid() -> None:
    unit = CentroidIntegration(3, torch.Generator().manual_seed(0))
    weight = unit.linear.weight.detach()
    assert weight.shape == (3, 6)
    assert weight.abs().max() <= (6 / 9) ** 0.5
    z, mu = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1)).unbind()
    torch.testing.assert_close(unit(z, mu).detach(), z @ weight[:, :3].T + mu @ weight[:, 3:].T)


def test_only_network_and_unit_get_gradients(network: Autoencoder) -> None:
    started = training(network, eta1=1.0, eta2=1.0, burn_in=0)
    state = started.state
    sum(batch(started).values(), torch.zeros(())).backward()
    names = {name.split(".")[0] for name, weights in state.named_parameters() if weights.grad is not None}
    assert names == {"network", "unit"} == {name.split(".")[0] for name, _ in state.named_parameters()}
    assert not any(buffer.requires_grad for buffer in state.buffers())


def test_straight_through_adds_the_centroids_way_back_to_the_code(network: Autoencoder) -> None:
    errors = {}
    for straight in (False, True):
        started = training(network, straight_through=straight)
        unit = started.state.unit
        assert unit is not None
        with torch.no_grad():  # h(z, mu) = W (z - mu): the two ways cancel
            unit.linear.weight[:, P:] = -unit.linear.weight[:, :P]
        loss = batch(started)["reconstruction"]
        gradients = encoder_gradients(started.state.network.encoder, loss)
        errors[straight] = (loss.item(), max(float(g.abs().max()) for g in gradients))
    assert errors[True][0] == pytest.approx(errors[False][0], rel=1e-6)
    assert errors[True][1] < 1e-9 < 1e-5 < errors[False][1]


def test_noise_is_on_what_is_decoded_alone(network: Autoencoder) -> None:
    plain, noisy, other = (batch(training(network, noise=noise)) for noise in (0.0, 0.5, 2.0))
    assert plain["reconstruction"] < noisy["reconstruction"] < other["reconstruction"]
    assert plain["clustering"] == noisy["clustering"] == other["clustering"]


def test_clusters_without_a_sample_stay_and_are_counted_out(network: Autoencoder) -> None:
    started = training(network)
    state = started.state
    state.centroids[3:] += 1e3
    before = state.centroids.clone()
    batch(started)
    row = started.after_epoch()
    assert torch.equal(state.centroids[3:], before[3:])
    assert row["alive"] == int((started.counts[:3] > 0).sum()) == len(set(state.labels[:64].tolist()))
    assert row["largest_share"] == pytest.approx(float(started.counts.max()) / 64)


def test_epoch_columns_count_what_changed_since_a_sample_was_last_seen(network: Autoencoder) -> None:
    started = training(network, update="fixed")
    batch(started, slice(0, 64))
    assert started.after_epoch()["label_change"] is None
    started.before_epoch()
    started.state.labels[:16] += 1
    batch(started, slice(0, 80))  # 16 rows seen for the first time do not count
    row = started.after_epoch()
    assert row["label_change"] == pytest.approx(16 / 64)
    assert 1 / K <= row["certainty"] <= 1


# ------------------------------------------------------------------------------------------------------ whole fits


def test_centroids_are_the_moving_average_of_all_batches(network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def note(centroids: Tensor, z: Tensor, labels: Tensor, kappa: float) -> tuple[Tensor, Tensor]:
        seen.append((centroids.numpy().copy(), z.numpy().copy(), labels.numpy().copy()))
        return moving_average(centroids, z, labels, kappa)

    monkeypatch.setattr(pc_x, "moving_average", note)
    fitted = method(kappa=0.9).fit(X, network=network)
    assert len(seen) == fitted.n_iter_ == 4 * (N // 64)
    expected = seen[0][0].astype(np.float64)
    for _, z, labels in seen:
        expected = reference.moving_average(expected, z, labels, 0.9)
    np.testing.assert_allclose(fitted.cluster_centers_, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - seen[0][0]).max() > 1e-3


def test_centroids_are_ratios_of_moving_sums_and_counts_of_all_batches(
    network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[np.ndarray]] = []

    def note(*state: Any) -> tuple[Tensor, Tensor, Tensor]:
        assert state[4:] == (0.9, 1e-5)
        seen.append([tensor.numpy().copy() for tensor in state[:4]])
        return moving_ratio(*state)

    monkeypatch.setattr(pc_x, "moving_ratio", note)
    fitted = method(centroids="ratio", kappa=0.9).fit(X, network=network)
    assert len(seen) == fitted.n_iter_ == 4 * (N // 64)
    sums, sizes = (start.astype(np.float64) for start in seen[0][:2])
    assert (sizes == 0).all()
    assert sums.var() == pytest.approx(2 / (K + P), rel=0.3)
    for _, _, z, labels in seen:
        sums, sizes = reference.moving_ratio(sums, sizes, z, labels, 0.9, 1e-5)
    np.testing.assert_allclose(fitted.cluster_centers_, sums / sizes[:, None], rtol=1e-4)
    dead = np.linalg.norm(fitted.cluster_centers_, axis=1) > 100
    assert 0 < dead.sum() == K - len({label for *_, labels in seen for label in labels})
    assert not set(fitted.labels_) & set(np.flatnonzero(dead))


def test_ratios_start_at_the_centroids_of_kmeans_with_equal_sizes(network: Autoencoder) -> None:
    options: dict[str, Any] = {"init": "kmeans", "warm_up": 3, "epochs": 1}
    start = method(update="fixed", **options).fit(X, network=network).cluster_centers_
    found = method(centroids="ratio", **options).fit(X, network=network).cluster_centers_
    np.testing.assert_allclose(found, start, atol=0.05 * np.abs(start).max())
    assert (found != start).any(axis=1).all()


def test_labels_are_the_nearest_centroids_under_the_final_weights(network: Autoencoder) -> None:
    fitted = method().fit(X, network=network)
    squared = reference.squared_distances(fitted.embedding_, fitted.cluster_centers_)
    np.testing.assert_array_equal(fitted.labels_, squared.argmin(axis=1))
    with torch.no_grad():
        np.testing.assert_array_equal(fitted.network_.encode(DATA).numpy(), fitted.embedding_)


def test_readouts_are_of_the_final_code(network: Autoencoder) -> None:
    fitted = method(n_init=3).fit(X, network=network)
    kmeans = KMeans(K, n_init=3, random_state=fitted._seed).fit(fitted.embedding_)
    np.testing.assert_array_equal(fitted.readouts_["kmeans"], kmeans.labels_)
    np.testing.assert_array_equal(fitted.readouts_["modularity"], fitted._modularity(fitted.embedding_)["modularity"])
    assert fitted.readouts_["kmeans"].dtype == np.int64


@pytest.mark.parametrize(("iterations", "epochs"), [(1, 1), (N // 64, 1), (N // 64 + 1, 2), (2 * (N // 64), 2)])
def test_a_burn_in_in_iterations_ends_with_an_epoch(iterations: int, epochs: int, network: Autoencoder) -> None:
    found, expected = (method(burn_in=b).fit(X, network=network) for b in (f"{iterations} iterations", epochs))
    assert found.trace_ == expected.trace_


def test_entropy_and_reweighting_wait_for_the_burn_in(network: Autoencoder) -> None:
    weighted, plain = (method(eta2=1e-3, imbalance=i).fit(X, network=network).trace_ for i in (True, False))
    assert [row["loss_entropy"] > 0 for row in plain] == [False, False, True, True]
    assert weighted[:2] == plain[:2]
    assert weighted[2]["loss_clustering"] != plain[2]["loss_clustering"]


def test_trace_has_the_terms_and_what_became_of_the_clusters(network: Autoencoder) -> None:
    fitted = method(warm_up=2).fit(X, network=network)
    rows = [row for row in fitted.trace_ if row["phase"] == "cluster"]
    assert [row["phase"] for row in fitted.trace_] == ["warm_up"] * 2 + ["cluster"] * 4
    terms = ["loss_reconstruction", "loss_clustering", "loss_entropy"]
    columns = ["phase", "epoch", "loss", *terms, "label_change", "alive", "largest_share", "certainty"]
    assert [list(row) for row in rows] == [columns] * 4
    assert rows[0]["label_change"] is None
    assert all(0 <= row["label_change"] <= 1 for row in rows[1:])
    assert all(1 <= row["alive"] <= K and 1 / K <= row["largest_share"] <= 1 for row in rows)
    assert fitted.n_iter_ == 6 * (N // 64)


def test_heavy_clustering_term_leaves_one_cluster_and_says_so(network: Autoencoder) -> None:
    fitted = method(eta1=10.0, learning_rate=5e-3, epochs=8).fit(X, network=network)
    assert fitted.trace_[-1]["alive"] == len(set(fitted.labels_)) == 1
    assert fitted.trace_[-1]["largest_share"] == 1
    table = fitted.extras_["singular_values"]
    assert sorted(table["n"]) == [0] * (K - 1) + [N]
    assert table.loc[table["n"] == 0, ["before", "after"]].isna().all(axis=None)
    assert np.isfinite(fitted.cluster_centers_).all()


def test_fixed_centroids_stay_and_the_others_start_there(network: Autoencoder) -> None:
    fixed = method(update="fixed").fit(X, network=network)
    longer = method(update="fixed", epochs=6).fit(X, network=network)
    np.testing.assert_array_equal(fixed.cluster_centers_, longer.cluster_centers_)
    barely = method(kappa=1 - 1e-6, epochs=1).fit(X, network=network)
    np.testing.assert_allclose(barely.cluster_centers_, fixed.cluster_centers_, atol=1e-4)
    assert np.abs(method().fit(X, network=network).cluster_centers_ - fixed.cluster_centers_).max() > 1e-3
    assert np.abs(fixed.cluster_centers_).max() <= (6 / (K + P)) ** 0.5
    assert fixed.cluster_centers_.var() == pytest.approx(2 / (K + P), rel=0.3)


def test_without_the_unit_the_decoder_sees_the_code_alone(network: Autoencoder) -> None:
    fitted = method(ci_unit=False).fit(X, network=network)
    with torch.no_grad():
        centers = fitted.network_.decode(torch.from_numpy(fitted.cluster_centers_)).numpy()
    np.testing.assert_array_equal(fitted.extras_["decoded_centers"], centers)
    assert fitted.extras_.keys() == {"decoded_centers"}


def test_exemplars_are_the_centroids_fused_with_themselves_and_decoded(network: Autoencoder) -> None:
    fitted = method().fit(X, network=network)
    mu, weight, bias = map(torch.from_numpy, (fitted.cluster_centers_, fitted.unit_["weight"], fitted.unit_["bias"]))
    fused = torch.cat([mu, mu], dim=1) @ weight.T + bias
    with torch.no_grad():
        np.testing.assert_allclose(fitted.extras_["decoded_centers"], fitted.network_.decode(fused), atol=1e-6)
        np.testing.assert_array_equal(fitted.network_.encode(DATA).numpy(), fitted.embedding_)
    assert fitted.extras_["decoded_centers"].shape == X[:K].shape


def test_singular_values_are_of_each_clusters_codes_before_and_after_the_unit(network: Autoencoder) -> None:
    fitted = method(eta1=1e-4, epochs=6).fit(X, network=network)
    table = fitted.extras_["singular_values"]
    k = int(table["n"].argmax())
    rows = torch.from_numpy(fitted.embedding_[fitted.labels_ == k])
    weight, bias, mu = map(torch.from_numpy, (fitted.unit_["weight"], fitted.unit_["bias"], fitted.cluster_centers_))
    fused = torch.cat([rows, mu[[k]].expand_as(rows)], dim=1) @ weight.T + bias
    assert list(table["cluster"]) == list(range(K))
    assert table["n"].sum() == N
    for column, values in [("before", rows), ("after", fused)]:
        spectrum = torch.linalg.svdvals(values.double())
        assert table[column][k] == pytest.approx(float(100 * spectrum[0] / spectrum.sum()), rel=1e-5)


def test_leading_share_is_100_for_one_direction_and_even_for_all() -> None:
    assert _leading_share(np.outer(np.arange(1, 8), [1.0, 2.0, 3.0])) == pytest.approx(100)
    assert _leading_share(np.eye(4)) == pytest.approx(25)
    assert np.isnan(_leading_share(np.zeros((3, 4))))
    assert np.isnan(_leading_share(np.empty((0, 4))))


def test_kmeans_start_takes_the_centroids_of_the_code_after_the_warm_up(network: Autoencoder) -> None:
    fitted = method(init="kmeans", warm_up=3, update="fixed", n_init=3).fit(X, network=network)
    before = fitted.extras_["embedding_before"]
    expected = KMeans(K, n_init=3, random_state=fitted._seed).fit(before).cluster_centers_
    np.testing.assert_array_equal(fitted.cluster_centers_, expected)
    with torch.no_grad():
        assert np.abs(network.encode(DATA).numpy() - before).max() > 1e-3
    assert "embedding_before" not in method(warm_up=1, epochs=1).fit(X, network=network).extras_


def test_warm_up_reconstructs_through_the_unit(network: Autoencoder) -> None:
    started = training(network)
    found = started.reconstruction(DATA[:64], torch.arange(64), torch.Generator())
    with torch.no_grad():
        z = started.state.network.encode(DATA[:64])
        assert started.state.unit is not None
        output = started.state.network.decode(started.state.unit(z, z))
    assert found["reconstruction"].item() == pytest.approx(float((output - DATA[:64]).square().mean()))
    trace = method(warm_up=8, epochs=1, learning_rate=5e-3).fit(X, network=network).trace_
    assert trace[7]["loss"] < 0.5 * trace[0]["loss"]


@pytest.mark.parametrize("name", ["conv", "random_conv"])
def test_convolutional_network_learns_from_augmented_images(name: str) -> None:
    settings = network_of({"network": name, "channels": [4, 8], "n_embedding": P, "epochs": 0})
    conv = pretrain(DATA, settings, seed=0, image_shape=(1, 8, 8))[0]
    plain, augmented = (method(augment=a, epochs=2).fit(X, network=conv) for a in (False, True))
    assert plain.trace_[0]["loss"] != augmented.trace_[0]["loss"]
    np.testing.assert_array_equal(augmented.predict(X), augmented.labels_)


def test_augmentation_without_images_does_not_apply(network: Autoencoder) -> None:
    with pytest.raises(NotApplicable, match="image"):
        method(augment=True).fit(X, network=network)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("last", [3, 11, 30, 44])  # in the warm-up, before and after the burn-in, at the end
def test_interrupted_fit_with_every_option_ends_with_the_same_bits(
    last: int, network: Autoencoder, tmp_path: Path
) -> None:
    def fit(folder: Path | None) -> PCX:
        options: dict[str, Any] = {"init": "kmeans", "warm_up": 3, "epochs": 8, "imbalance": True, "noise": 0.5}
        options |= {"centroids": "ratio"}
        with Runtime(1, checkpoints=folder, checkpoint_every=2).open():
            return method(burn_in=4, **options).fit(X, network=network)

    expected = fit(None)
    assert expected.n_iter_ == 44
    steps = []

    def interrupt(*_: object) -> None:
        steps.append(1)
        if len(steps) == last:
            raise Interrupted

    handle = register_optimizer_step_post_hook(interrupt)
    with pytest.raises(Interrupted):
        fit(tmp_path)
    resumed = fit(tmp_path)
    handle.remove()
    assert len(steps) < last + 44 or last == 3
    np.testing.assert_array_equal(resumed.labels_, expected.labels_)
    np.testing.assert_array_equal(resumed.embedding_, expected.embedding_)
    np.testing.assert_array_equal(resumed.cluster_centers_, expected.cluster_centers_)
    assert resumed.trace_ == expected.trace_
