"""ULHE-DC: its updates against the paper's formulas, its stages, its stop, and what its settings change."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from deepclust.errors import NotApplicable, UserError
from deepclust.losses import distances
from deepclust.losses.hypersphere import directions
from deepclust.methods.centroids import ulhe_dc
from deepclust.methods.centroids.ulhe_dc import ULHEDC, _clipped, easiest, momentum_centroids, nearest
from deepclust.metrics import nmi
from deepclust.nets._autoencoder import Autoencoder
from deepclust.solvers.spherical_kmeans import spherical_kmeans
from deepclust.training.loop import Outcome
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime
from tests.networks import network_of
from tests.references import ulhe_dc as reference

SETTINGS = {"network": "sphere", "hidden": [64], "n_embedding": 10, "epochs": 60, "batch_size": 64, "norm_weight": 1.0}
N = 600
X, Y = load_digits().data[:N].astype(np.float32) / 16, load_digits().target[:N]
TERMS = ("clustering", "norm", "uniformity", "compactness")
both = pytest.mark.parametrize("centroid_update", ["batch", "epoch"])


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(torch.from_numpy(X), network_of(SETTINGS), seed=0, image_shape=(1, 8, 8))[0]


@pytest.fixture(scope="module")
def codes(network: Autoencoder) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = network.encode(torch.from_numpy(X)).numpy()
    return found


def quick(**settings: Any) -> Any:
    short = {"random_state": 0, "epochs": 6, "batch_size": 64, "n_init": 3, "tolerance": 0.0, "device": "cpu"}
    return ULHEDC(10, **{**short, **settings})


def random_case(seed: int, n: int = 40, p: int = 5, k: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)), np.stack([reference.direction(row) for row in rng.normal(size=(k, p))])


# --------------------------------------------------------------------------------------------------- its formulas


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_samples", [40, 1000])
@pytest.mark.parametrize("rows", [7, 1000])
def test_assignments_and_momentum_are_the_papers(
    seed: int, n_samples: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "_ENTRIES", 6 * rows)
    Z, centroids = random_case(seed)
    u, start = directions(torch.from_numpy(Z)), torch.from_numpy(centroids)
    labels = nearest(u, start)
    assert labels.tolist() == reference.assignments(Z, centroids)
    labels = labels.clamp(max=4)  # the last cluster has no members
    moved = momentum_centroids(start, u, labels, n_samples)
    np.testing.assert_allclose(moved, reference.momentum(centroids, Z, labels.tolist(), n_samples), atol=1e-12)
    np.testing.assert_allclose(moved[5], start[5], atol=1e-15)


def test_batches_of_a_pass_move_centroids_about_as_far_as_the_whole_pass() -> None:
    Z, centroids = random_case(0, n=600, k=3)
    u, start = directions(torch.from_numpy(Z)), torch.from_numpy(centroids)
    labels = nearest(u, start)
    whole = momentum_centroids(start, u, labels, 600)
    moving = start
    for part in range(0, 600, 30):
        moving = momentum_centroids(moving, u[part : part + 30], labels[part : part + 30], 600)
    way, way_by_parts = (torch.linalg.vector_norm(end - start, dim=1) for end in (whole, moving))
    np.testing.assert_allclose(way_by_parts, way, rtol=0.35)


@both
def test_first_batch_minimises_the_papers_objective(
    centroid_update: str, network: Autoencoder, codes: np.ndarray
) -> None:
    """One batch of all samples, of which the first loss is that of the code before any step."""
    settings = {"lambda_norm": 2.0, "lambda_unif": 0.08, "lambda_cmpt": 0.4, "reduction": "sum"}
    method = quick(epochs=1, batch_size=len(X), centroid_update=centroid_update, self_paced=False, **settings).fit(
        X, network=network
    )
    start = spherical_kmeans(codes, 10, random_state=method._seed, n_init=3)
    Z = codes.astype(np.float64)
    labels = reference.assignments(Z, start.centers)
    centroids = reference.momentum(start.centers, Z, labels, len(Z))
    u = directions(torch.from_numpy(Z)).numpy()
    pairs = sum(float(np.sum(1 - u[np.equal(labels, k)] @ u[np.equal(labels, k)].T)) for k in range(10)) / 10
    expected = {
        "clustering": reference.clustering(Z, centroids, labels),
        "norm": 2.0 * reference.norm_penalty(Z),
        "uniformity": 0.08 * reference.uniformity(Z, labels),
        "compactness": 0.4 * pairs,
    }
    for name in TERMS:
        assert method.trace_[0][f"loss_{name}"] == pytest.approx(expected[name], rel=1e-4), name
    np.testing.assert_allclose(method.cluster_centers_, centroids, atol=1e-5)


# ------------------------------------------------------------------------------------------------------- training


def test_large_data_start_from_some_of_the_samples(
    network: Autoencoder, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ulhe_dc, "_STARTED_FROM", 100)
    method = quick()
    method._seed = 0
    seen: list[np.ndarray] = []

    def noted(Z: np.ndarray, *rest: Any, **settings: Any) -> Any:
        seen.append(Z)
        return spherical_kmeans(Z, *rest, **settings)

    monkeypatch.setattr(ulhe_dc, "spherical_kmeans", noted)
    assert method._start_from(codes[:200]).centers.shape == method._start_from(codes).centers.shape == (10, 10)
    assert [len(Z) for Z in seen] == [200, 100]
    assert len(np.unique(seen[1], axis=0)) == 100
    assert {row.tobytes() for row in seen[1]} <= {row.tobytes() for row in codes}


def test_training_does_not_fall_below_its_start(network: Autoencoder, codes: np.ndarray) -> None:
    method = quick(epochs=60, self_paced=False).fit(X, network=network)
    start = spherical_kmeans(codes, 10, random_state=method._seed, n_init=3)
    assert nmi(Y, start.labels) > 0.5
    assert nmi(Y, method.labels_) >= nmi(Y, start.labels)
    assert method.trace_[-1]["loss"] < method.trace_[0]["loss"]
    np.testing.assert_array_equal(method.extras_["embedding_before"], codes)


@both
def test_clusters_become_narrow_and_lie_on_the_sphere(
    centroid_update: str, network: Autoencoder, codes: np.ndarray
) -> None:
    method = quick(epochs=30, self_paced=False, lambda_unif=0.0, centroid_update=centroid_update).fit(
        X, network=network
    )

    def cosines(Z: np.ndarray, centers: np.ndarray) -> np.ndarray:
        found: np.ndarray = (Z / np.linalg.norm(Z, axis=1, keepdims=True) @ centers.T).max(axis=1)
        return found

    start = spherical_kmeans(codes, 10, random_state=method._seed, n_init=3)
    before, after = cosines(codes, start.centers), cosines(method.embedding_, method.cluster_centers_)
    assert 1 - after.mean() < 0.8 * (1 - before.mean())
    np.testing.assert_allclose(np.linalg.norm(method.cluster_centers_, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(method.embedding_, axis=1).mean(), 1, atol=0.1)


def test_only_the_encoder_is_trained(network: Autoencoder) -> None:
    found = quick().fit(X, network=network).network_
    for name, tensor in network.decoder.state_dict().items():
        assert torch.equal(found.decoder.state_dict()[name], tensor), name
    assert any(not torch.equal(found.encoder.state_dict()[n], t) for n, t in network.encoder.state_dict().items())


@pytest.mark.parametrize(("zero", "column"), [("lambda_unif", "uniformity"), ("lambda_cmpt", "compactness")])
def test_terms_are_switched_off_by_their_weight(zero: str, column: str, network: Autoencoder) -> None:
    method = quick(epochs=3, **{zero: 0.0}).fit(X, network=network)
    assert {row[f"loss_{column}"] for row in method.trace_} == {0.0}
    others = [f"loss_{name}" for name in TERMS if name != column]
    assert all(row[name] > 0 for row in method.trace_ for name in others)
    assert not np.array_equal(method.embedding_, quick(epochs=3).fit(X, network=network).embedding_)


def test_uniformity_drives_centroids_apart(network: Autoencoder) -> None:
    cosines = [
        quick(epochs=20, self_paced=False, lambda_unif=weight).fit(X, network=network).trace_[-1]["largest_cosine"]
        for weight in (0.0, 0.3)
    ]
    assert cosines[1] < cosines[0] - 0.1


def test_clipping_shortens_the_gradient_of_one_term_alone() -> None:
    def gradient(largest: float | None) -> Tensor:
        u = torch.tensor([[3.0, 4.0], [0.0, 12.0]], requires_grad=True)
        ((_clipped(u, largest) ** 2).sum() / 2 + u.sum()).backward()
        assert u.grad is not None
        return u.grad

    u = torch.tensor([[3.0, 4.0], [0.0, 12.0]])  # of norm 13, as its gradient is
    torch.testing.assert_close(gradient(None), u + 1)
    torch.testing.assert_close(gradient(14.0), u + 1)
    torch.testing.assert_close(gradient(0.5), u * (0.5 / 13) + 1)


def test_a_term_clipped_to_nothing_is_traced_and_teaches_nothing(network: Autoencoder) -> None:
    clipped = quick(epochs=2, reduction="sum", clip_cmpt=1e-9).fit(X, network=network)
    without = quick(epochs=2, reduction="sum", lambda_cmpt=0.0).fit(X, network=network)
    assert clipped.trace_[0]["loss_compactness"] > 1
    np.testing.assert_allclose(clipped.embedding_, without.embedding_, atol=1e-5)


@both
def test_labels_can_stay_those_of_the_start(
    centroid_update: str, network: Autoencoder, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    follow = ulhe_dc.ULHEDCState.follow

    def note(self: Any, rows: Tensor, codes: Tensor, n_samples: int) -> None:
        follow(self, rows, codes, n_samples)
        seen.append(self.labels.numpy().copy())

    monkeypatch.setattr(ulhe_dc.ULHEDCState, "follow", note)
    settings = {"epochs": 9, "centroid_update": centroid_update, "learning_rate": 0.02}
    method = quick(**settings, relabel=False, tolerance=0.5).fit(X, network=network)
    start = spherical_kmeans(codes, 10, random_state=method._seed, n_init=3)
    assert all(np.array_equal(labels, start.labels) for labels in seen)
    assert (len(method.trace_), method.converged_) == (9, False)  # labels that cannot change do not stop it
    moved = np.abs(method.cluster_centers_ - start.centers).max()
    assert moved > 0.01
    seen.clear()
    quick(**settings).fit(X, network=network)
    assert not all(np.array_equal(labels, start.labels) for labels in seen)


def test_trace_counts_on_through_the_stages(network: Autoencoder) -> None:
    method = quick(epochs=7).fit(X, network=network)
    assert [(row["phase"], row["epoch"]) for row in method.trace_] == [("cluster", epoch) for epoch in range(7)]
    columns = ["phase", "epoch", "loss", *(f"loss_{name}" for name in TERMS), "label_change"]
    assert [list(row) for row in method.trace_] == [[*columns, "largest_cosine", "alive"]] * 7
    assert all(-1 / 9 - 1e-6 <= row["largest_cosine"] <= 1 for row in method.trace_)
    assert all(1 <= row["alive"] <= 10 for row in method.trace_)
    assert method.n_iter_ == 2 * (200 // 64) + 2 * (400 // 64) + 3 * (600 // 64)


def test_augmented_copies_learn_the_labels_of_the_clean_samples(
    network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that says nothing about its sample leaves the labels those of the samples."""
    monkeypatch.setattr(ULHEDC, "_augmenter", lambda self, wanted: lambda x, _: torch.zeros_like(x))
    seen: list[Tensor] = []
    follow = ulhe_dc.ULHEDCState.follow

    def note(self: Any, rows: Tensor, codes: Tensor, n_samples: int) -> None:
        seen.append(codes)
        follow(self, rows, codes, n_samples)

    monkeypatch.setattr(ulhe_dc.ULHEDCState, "follow", note)
    for centroid_update in ("batch", "epoch"):
        seen.clear()
        quick(epochs=1, augment=True, self_paced=False, centroid_update=centroid_update).fit(X, network=network)
        assert all(codes.std(dim=0).min() > 0 for codes in seen)
        assert len(seen) == (1 if centroid_update == "epoch" else N // 64)


def test_augmentation_needs_images_and_changes_the_code(network: Autoencoder) -> None:
    with pytest.raises(NotApplicable, match="no image shape"):
        quick(augment=True, pretraining=SETTINGS | {"epochs": 1}).fit(X)
    plain, augmented = (quick(epochs=3, augment=augment).fit(X, network=network) for augment in (False, True))
    assert np.abs(plain.embedding_ - augmented.embedding_).max() > 1e-3


# ------------------------------------------------------------------------------------------------------ self-pacing


@pytest.mark.parametrize("rows", [7, 1000])
def test_nearest_samples_are_the_easiest(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_ENTRIES", 6 * rows)
    Z, centroids = random_case(1, n=31)
    u, m = directions(torch.from_numpy(Z)), torch.from_numpy(centroids)
    distance = [1 - max(reference.cosine(z, c) for c in centroids) for z in Z]
    for share, count in ((1 / 3, 11), (2 / 3, 21), (1.0, 31)):
        fed = easiest(u, m, share).tolist()
        assert fed == sorted(sorted(range(31), key=lambda i: distance[i])[:count])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epochs": 300}, [(200, 100), (400, 100), (600, 100)]),
        ({"epochs": 10, "stage_epochs": 2}, [(200, 2), (400, 2), (600, 6)]),
        ({"epochs": 2}, [(600, 2)]),
        ({"epochs": 9, "self_paced": False}, [(600, 9)]),
        ({"epochs": "8 iterations"}, [(200, "2 iterations"), (400, "2 iterations"), (600, "4 iterations")]),
        (
            {"epochs": "9 iterations", "stage_epochs": "4 iterations"},
            [(200, "4 iterations"), (400, "4 iterations"), (600, "1 iterations")],
        ),
    ],
)
def test_samples_are_fed_in_three_stages(
    settings: dict[str, Any], expected: list[tuple[int, Any]], network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, Any]] = []
    fed: list[set[int]] = []

    def note(self: Any, state: Any, X: Tensor, rows: Tensor, optimizer: Any, epochs: Any, *_: Any) -> Any:
        assert len(X) == 600  # all samples, of which `rows` are shown
        seen.append((len(rows), epochs))
        fed.append(set(rows.tolist()))
        return Outcome([], 1, False)

    monkeypatch.setattr(ULHEDC, "_train", note)
    quick(**settings).fit(X, network=network)
    assert seen == expected
    assert all(a < b for a, b in itertools.pairwise(fed))  # untrained, the order does not change


def test_stages_that_leave_no_epoch_for_all_samples_are_refused() -> None:
    with pytest.raises(UserError, match=r"stage_epochs must be below epochs/2=5, got 5"):
        quick(epochs=10, stage_epochs=5).fit(X)
    with pytest.raises(UserError, match=r"both be numbers of epochs, or both of iterations, got 2 and '9 iterations'"):
        quick(epochs="9 iterations", stage_epochs=2).fit(X)


# ------------------------------------------------------------------------------------------------------------ stop


@both
def test_it_stops_where_labels_stay_but_not_before_all_samples_are_fed(
    centroid_update: str, network: Autoencoder
) -> None:
    settings = {"epochs": 30, "tolerance": 0.5, "centroid_update": centroid_update, "lambda_unif": 0.0}
    paced = quick(**settings, stage_epochs=3).fit(X, network=network)
    assert (len(paced.trace_), paced.converged_) == (8, True)  # the stop comes at the start of the epoch after a change
    assert paced.trace_[-1]["loss"] is None
    early = quick(**settings, stage_epochs=3, stop="any_stage").fit(X, network=network)
    assert (len(early.trace_), early.converged_) == (2, True)
    plain = quick(**settings, self_paced=False).fit(X, network=network)
    assert (len(plain.trace_), plain.converged_) == (2, True)
    assert not quick(**settings | {"tolerance": 0.0}, self_paced=False).fit(X, network=network).converged_


# ----------------------------------------------------------------------------------------------- results and resuming


def test_labels_are_the_centroids_of_largest_cosine(network: Autoencoder) -> None:
    method = quick().fit(X, network=network)
    expected = reference.assignments(method.embedding_.astype(np.float64), method.cluster_centers_.astype(np.float64))
    np.testing.assert_array_equal(method.labels_, expected)
    np.testing.assert_array_equal(method.predict(X), expected)
    assert method.readouts_["modularity"].shape == (len(X),)


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupt_at() -> Iterator[Callable[[int], None]]:
    handles = []

    def arm(last: int) -> None:
        steps = 0

        def after(*_: object) -> None:
            nonlocal steps
            steps += 1
            if steps == last:
                raise Interrupted

        handles.append(register_optimizer_step_post_hook(after))

    yield arm
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("last", [4 * 3 + 2, 6 * 3 + 20, 6 * 3 + 6 * 6 + 5 * 9 + 4])  # in each of the three stages
@both
def test_interrupted_in_any_stage_it_ends_with_the_same_bits(
    centroid_update: str, last: int, network: Autoencoder, interrupt_at: Callable[[int], None], tmp_path: Path
) -> None:
    def fit(folder: str) -> Any:
        with Runtime(1, "float32", tmp_path / folder).open():
            return quick(epochs=18, centroid_update=centroid_update).fit(X, network=network)

    expected = fit("whole")
    interrupt_at(last)
    with pytest.raises(Interrupted):
        fit("parts")
    resumed = fit("parts")
    for name in ("labels_", "embedding_", "cluster_centers_"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(expected, name))
    assert resumed.trace_ == expected.trace_
    assert resumed.n_iter_ == expected.n_iter_


@pytest.mark.parametrize(
    "settings", [{}, {"centroid_update": "batch"}, {"reduction": "sum", "clip_cmpt": 0.1}, {"relabel": False}]
)
def test_dull_data_do_not_break_it(settings: dict[str, Any]) -> None:
    """Constant rows, a dead network, one cluster, and as many clusters as samples."""
    tiny = {"hidden": [8], "n_embedding": 3, "epochs": 1, "batch_size": 8}
    rng = np.random.default_rng(0)
    for data in (np.zeros((20, 4)), np.ones((20, 4)), np.repeat(rng.random((2, 4)), 10, axis=0), rng.random((20, 4))):
        for n_clusters in (1, 3, 20):
            method = ULHEDC(
                n_clusters, epochs=4, batch_size=8, n_init=1, pretraining=tiny, random_state=0, device="cpu", **settings
            ).fit(data)
            assert np.isfinite(method.embedding_).all()
            assert np.isfinite(method.cluster_centers_).all()
