"""JULE: the loss against its formula, the drawing of negatives, the periods of merging, and its network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize
from torch import Tensor, nn

from deepclust.errors import NotApplicable, UserError
from deepclust.graph.agglomerate import agglomerate, agglomerate_neighbors, digraph_weights, nearest_components
from deepclust.graph.knn import knn_graph
from deepclust.methods.self_training import jule
from deepclust.methods.self_training.jule import JULE, cluster_counts, draw_negatives, join_isolated, triplet_loss
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training import loop
from deepclust.training.pretrain import pretrain
from deepclust.training.replay import Replayed
from deepclust.training.runtime import Runtime
from tests.networks import network_of
from tests.recorder import Recorder
from tests.references import jule as reference

N = 300
X = load_digits().data[:N].astype(np.float32) / 16


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    settings = {"network": "jule", "channels": [8], "n_embedding": 16}
    return pretrain(torch.from_numpy(X), network_of(settings), seed=0, image_shape=(1, 8, 8))[0]


def quick(n_clusters: int = 10, **settings: Any) -> JULE:
    short = {"random_state": 0, "device": "cpu", "eta": 0.5, "period_epochs": 2, "batch_size": 50, "n_neighbors": 10}
    return JULE(n_clusters, **{**short, **settings})


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def batch(n_clusters: int, size: int = 24) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(n_clusters), rng.integers(n_clusters, size=size - n_clusters)])
    return torch.from_numpy(normalize(rng.normal(size=(size, 4)))), torch.from_numpy(7 * rng.permutation(labels))


# -------------------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("n_clusters", [2, 5, 20])
@pytest.mark.parametrize(("gamma", "margin"), [(1.0, 0.2), (2.0, 0.2), (2.0, 0.0)])
@pytest.mark.parametrize("n_negatives", [1, 3, 50])
def test_loss_is_the_mean_over_triplets(n_clusters: int, gamma: float, margin: float, n_negatives: int) -> None:
    z, labels = batch(n_clusters)
    negatives = draw_negatives(labels, n_negatives, generator())
    expected = reference.triplet_loss(z.numpy(), labels.numpy(), negatives.numpy(), gamma, margin)
    assert triplet_loss(z, z, labels, negatives, gamma, margin).item() == pytest.approx(expected, rel=1e-12)
    assert expected > 0


def test_gradient_is_that_of_differences() -> None:
    z, labels = batch(3, 8)
    negatives = draw_negatives(labels, 3, generator())

    def loss(z: Tensor) -> Tensor:
        unit = nn.functional.normalize(z)
        return triplet_loss(unit, unit, labels, negatives, 2.0, 0.2)

    assert torch.autograd.gradcheck(loss, [z.requires_grad_()])


def test_anchors_alone_move_by_what_the_released_code_computes_for_gamma_1() -> None:
    z, labels = batch(3, 8)
    negatives = draw_negatives(labels, 2, generator())
    loss = triplet_loss(z.requires_grad_(), z.detach(), labels, negatives, 1.0, 0.2)
    (found,) = torch.autograd.grad(loss, z)
    triplets = reference.triplets(labels.numpy(), negatives.numpy())
    expected = torch.zeros_like(z)
    for i, j, k in triplets:
        if (z[i] - z[j]).square().sum() - (z[i] - z[k]).square().sum() + 0.2 > 0:
            expected[i] += 2 * (z[k] - z[j]) / len(triplets)
    torch.testing.assert_close(found, expected.detach())
    assert len({i for i, _, _ in triplets}) < len(z)
    untouched = sorted(set(range(len(z))) - {i for i, _, _ in triplets})
    assert not found[untouched].any()


@pytest.mark.parametrize("labels", [torch.arange(6), torch.zeros(6, dtype=torch.int64), torch.zeros(1)])
def test_batch_without_pairs_or_without_negatives_has_no_loss_and_no_gradient(labels: Tensor) -> None:
    z = torch.randn(len(labels), 3, generator=generator()).requires_grad_()
    loss = triplet_loss(z, z, labels, draw_negatives(labels, 20, generator()), 2.0, 0.2)
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None
    assert not z.grad.any()


def test_negatives_are_different_samples_of_other_clusters() -> None:
    _, labels = batch(5)
    negatives = draw_negatives(labels, 4, generator()).numpy()
    used = reference.triplets(labels.numpy(), negatives)
    assert all(labels[i] == labels[j] != labels[k] for i, j, k in used)
    assert len(set(used)) == len(used)
    assert len({tuple(row) for row in negatives[0]}) > 3  # of a sample's pairs each has its own


def test_every_negative_is_equally_likely() -> None:
    labels = torch.tensor([0, 0, 1, 2, 3, 4, 5])
    draws, counts = generator(), np.zeros(7)
    for _ in range(2000):
        counts += np.bincount(draw_negatives(labels, 2, draws)[0, 1], minlength=7)
    np.testing.assert_allclose(counts / 2000, [0, 0, 0.4, 0.4, 0.4, 0.4, 0.4], atol=0.04)


# ----------------------------------------------------------------------------------------------------- the periods


@pytest.mark.parametrize(
    ("start", "n_clusters", "eta", "expected"),
    [
        (2000, 10, 0.9, [2000, 200, 20, 10]),
        (25, 3, 0.9, [25, 3]),  # 22.5 mergings are 23, and would leave 2
        (100, 70, 0.2, [100, 80, 70]),
        (50, 4, 1.0, [50, 4]),
        (3, 1, 0.1, [3, 2, 1]),
        (10, 10, 0.9, [10]),
    ],
)
def test_counts_of_clusters_are_those_of_the_paper(start: int, n_clusters: int, eta: float, expected: Any) -> None:
    assert cluster_counts(start, n_clusters, eta) == expected


@pytest.mark.parametrize(("n_neighbors", "n_clusters", "left"), [(2, 5, 35), (2, 40, 41), (3, 5, 43), (10, 5, 45)])
def test_isolated_clusters_are_joined_to_the_nearest_mean(n_neighbors: int, n_clusters: int, left: int) -> None:
    knn = knn_graph(X[:200], n_neighbors)
    W, labels = digraph_weights(knn), nearest_components(knn)
    found = join_isolated(X[:200], W, labels, n_clusters)
    expected = reference.join_isolated(X[:200], W.toarray(), labels, n_clusters)
    assert found.max() + 1 == len(set(found)) == left
    assert adjusted_rand_score(found, expected) == pytest.approx(1)


def test_isolated_clusters_are_joined_only_while_there_are_many(network: Autoencoder) -> None:
    many, few = (quick(n_neighbors=2, isolated_above=value).fit(X, network=network) for value in (2, 20))
    never = quick(n_neighbors=2, isolated_above=100).fit(X, network=network)
    np.testing.assert_array_equal(few.readouts_["rerun"], never.readouts_["rerun"])  # of less than 200 clusters
    assert not np.array_equal(many.readouts_["rerun"], few.readouts_["rerun"])


class Epoch:
    """The start of an epoch: clusters, unit codes and the learning rate."""

    def __init__(self, state: jule.JULEState, data: Tensor, rate: float) -> None:
        with torch.no_grad():
            self.codes = normalize(state.network.eval().encode(data).double().numpy()).astype(np.float32)
        self.labels, self.rate = state.labels.numpy().copy(), rate


@pytest.fixture
def epochs(watched_epochs: Callable) -> list[Epoch]:
    def look(state: jule.JULEState, data: Tensor, optimizer: torch.optim.Optimizer) -> Epoch:
        return Epoch(state, data, optimizer.param_groups[0]["lr"])

    found: list[Epoch] = watched_epochs(look)
    return found


def test_clusters_of_the_pixels_are_merged_on_each_periods_code_until_k_are_left(
    network: Autoencoder, epochs: list[Epoch]
) -> None:
    method = quick().fit(X, network=network)
    start = nearest_components(knn_graph(normalize(X), 10))
    counts = cluster_counts(start.max() + 1, 10, 0.5)
    assert len(counts) == 4
    assert [row["n_clusters"] for row in method.trace_] == [n for n in counts[:-1] for _ in range(2)]
    np.testing.assert_array_equal(epochs[0].labels, start)
    ends = [*epochs[2::2], None]
    for begin, end, n_clusters in zip(epochs[::2], ends, counts[1:], strict=True):
        labels = method.labels_ if end is None else end.labels
        codes = method.embedding_ if end is None else end.codes
        expected = agglomerate(digraph_weights(knn_graph(codes, 10)), begin.labels, n_clusters).labels
        assert adjusted_rand_score(labels, expected) == pytest.approx(1)
    for labels in (method.labels_, method.readouts_["rerun"]):
        assert set(labels) == set(range(10))


def test_new_samples_are_encoded_few_at_a_time_as_those_of_the_fit(
    network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = quick(period_epochs=1).fit(X, network=network)
    expected = method.transform(X)
    sizes: list[int] = []
    monkeypatch.setattr(JULE, "rows_encoded", 8)
    monkeypatch.setattr(Autoencoder, "encode", recording(Autoencoder.encode, sizes))
    np.testing.assert_allclose(method.transform(X), expected, atol=1e-6)
    assert max(sizes) == 8


def recording(encode: Callable[..., Tensor], sizes: list[int]) -> Callable[..., Tensor]:
    def recorded(self: Autoencoder, x: Tensor) -> Tensor:
        sizes.append(len(x))
        return encode(self, x)

    return recorded


def test_rerun_is_merging_anew_on_the_final_code(network: Autoencoder) -> None:
    method = quick().fit(X, network=network)
    np.testing.assert_allclose(np.linalg.norm(method.embedding_, axis=1), 1, rtol=1e-5)
    codes = method.network_.eval().encode(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(method.embedding_, normalize(codes), atol=1e-5)  # no training after the last merging
    expected = agglomerate_neighbors(knn_graph(method.embedding_, 10), 10).labels
    np.testing.assert_array_equal(method.readouts_["rerun"], expected)


def test_code_tells_the_clusters_of_a_period_apart(network: Autoencoder) -> None:
    method = quick(eta=1.0, period_epochs=10, gamma=1.0).fit(X, network=network)
    losses = [row["loss"] for row in method.trace_]
    assert losses[-1] < losses[0] / 2
    labels = nearest_components(knn_graph(normalize(X), 10))
    near = np.equal.outer(labels, labels) & ~np.eye(N, dtype=bool)
    before, after = (z @ z.T for z in (method.extras_["embedding_before"], method.embedding_))
    assert 2 * (before[near].mean() - before[~near].mean()) < after[near].mean() - after[~near].mean()


def test_learning_rate_falls_with_the_batches(network: Autoencoder, epochs: list[Epoch]) -> None:
    quick(learning_rate=0.02, rate_decay=0.01).fit(X, network=network)
    expected = [0.02 * (1 + 0.01 * 6 * epoch) ** -0.75 for epoch in range(6)]
    np.testing.assert_allclose([epoch.rate for epoch in epochs], expected)


def test_dampening_lessens_gradients_but_for_the_first(network: Autoencoder) -> None:
    settings: dict[str, Any] = {"weight_decay": 0.0, "eta": 1.0, "period_epochs": 1, "batch_size": N // 2}  # two steps
    first, second, third = (
        quick(learning_rate=rate, dampening=dampening, **settings).fit(X, network=network).network_
        for rate, dampening in ((0.1, 0.9), (0.1, 0.0), (0.1, 0.5))
    )
    steps = [
        np.concatenate(
            [
                (new - old).detach().ravel()
                for new, old in zip(found.encoder.parameters(), network.encoder.parameters(), strict=True)
            ]
        )
        for found in (first, second, third)
    ]
    np.testing.assert_allclose(steps[2] - steps[0], 4 / 9 * (steps[1] - steps[0]), atol=2e-6)
    assert np.abs(steps[1] - steps[0]).max() > 1e-4


class Interrupted(Exception):
    pass


def test_fit_killed_after_a_merging_ends_with_the_same_bits(
    network: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(folder: str) -> JULE:
        with Runtime(threads=1, checkpoints=tmp_path / folder, checkpoint_every=1).open():
            return quick().fit(X, network=network)

    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    expected = fit("whole")
    merged: list[int] = []

    def killed(*given: Any) -> Any:
        merged.append(given[-1])
        if len(merged) == 2:
            raise Interrupted
        return agglomerate(*given)

    monkeypatch.setattr(jule, "agglomerate", killed)
    with pytest.raises(Interrupted):
        fit("killed")
    found = fit("killed")
    assert merged == [34, 17, 17, 10, 10]  # the second one was killed; the last is the read-out's
    for labels, others in ((found.labels_, expected.labels_), (found.readouts_["rerun"], expected.readouts_["rerun"])):
        np.testing.assert_array_equal(labels, others)
    np.testing.assert_array_equal(found.embedding_, expected.embedding_)
    assert found.trace_ == expected.trace_


def test_steps_can_be_recorded_and_replayed(network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, recorder = quick().fit(X, network=network), Recorder()
    monkeypatch.setattr(loop, "Replayed", lambda step, module, _: Replayed(step, module, recorder))
    found = quick().fit(X, network=network)
    assert recorder.replays > 10
    np.testing.assert_array_equal(found.embedding_, expected.embedding_)


# ------------------------------------------------------------------------------------------------------- hard cases


@pytest.mark.parametrize(("rows", "n_clusters"), [(2, 1), (2, 2), (7, 7), (40, 1), (40, 39)])
def test_few_samples_and_extreme_numbers_of_clusters_are_possible(
    rows: int, n_clusters: int, network: Autoencoder
) -> None:
    method = quick(n_clusters).fit(X[:rows], network=network)
    for labels in (method.labels_, method.readouts_["rerun"]):
        assert set(labels) == set(range(n_clusters))


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_duplicates_are_divided_into_k_clusters(value: float, network: Autoencoder) -> None:
    method = quick(4).fit(np.full_like(X[:50], value), network=network)
    assert set(method.labels_) == set(range(4))
    assert np.isfinite(method.embedding_).all()


def test_one_sample_is_refused(network: Autoencoder) -> None:
    with pytest.raises(UserError, match="a graph needs at least 2 samples, got n_samples=1"):
        quick(1).fit(X[:1], network=network)


# ------------------------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize(
    ("side", "channels", "n_flat"),
    [(16, (50, 50), 50 * 6**2), (28, (50, 50), 50 * 8**2), (32, (50, 50), 50 * 5**2), (128, (50,) * 4, 50 * 5**2)],
)
def test_layers_are_those_of_the_released_code(side: int, channels: tuple[int, ...], n_flat: int) -> None:
    encoder, _ = network_of({"network": "jule", "channels": channels}).layers(side**2, (1, side, side))
    (dense,) = (layer for layer in encoder if isinstance(layer, nn.Linear))
    assert (dense.in_features, dense.out_features) == (n_flat, 160)


@pytest.mark.parametrize("shape", [(1, 5, 5), (1, 8, 8), (3, 28, 33), (2, 64, 9)], ids=str)
def test_images_of_any_size_are_restored(shape: tuple[int, int, int]) -> None:
    x = torch.rand(2, int(np.prod(shape)), generator=generator())
    code, restored = network_of({"network": "jule"}).build(x.shape[1], shape, generator())(x)
    assert code.shape == (2, 160)
    assert restored.shape == x.shape


def test_images_smaller_than_a_kernel_are_refused() -> None:
    with pytest.raises(NotApplicable, match="images of 4 x 9 are too small for a convolution of 5 x 5; use another"):
        network_of({"network": "jule"}).build(36, (1, 4, 9), generator())
