"""DC-Kmeans, DC-GMM and DAEC: the closed forms against the paper's formulas, the ADMM scheme, and runs on digits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import Tensor

from deepclust.errors import SeedFailed
from deepclust.losses import distances
from deepclust.methods._flat_clustering import k_means
from deepclust.methods.admm._scheme import ADMMState, Alternating, Centroids, Clustering, State
from deepclust.methods.admm.daec import DAEC
from deepclust.methods.admm.dc_gmm import DCGMM, Mixture
from deepclust.methods.admm.dc_kmeans import DCKmeans
from deepclust.methods.baselines.ae_gmm import AEGMM
from deepclust.methods.baselines.ae_kmeans import AEKMeans
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime
from tests.networks import network_of
from tests.references import deepcluster_admm as reference

K = 10
SETTINGS = {"hidden": [64], "n_embedding": 6, "epochs": 25, "batch_size": 32}
X = load_digits().data[:400].astype(np.float32) / 16
SIZES = [(1, 1, 1), (7, 2, 3), (40, 5, 4)]  # N, P, K
WEIGHTS = [(1.0, 1.0), (0.3, 5.0), (4.0, 0.1)]  # lam, rho
NO_NETWORK = network_of({"hidden": [1]}).build(1, None, torch.Generator())
sizes = pytest.mark.parametrize("size", SIZES)
weights = pytest.mark.parametrize(("lam", "rho"), WEIGHTS)
kinds = pytest.mark.parametrize("kind", ["centroids", "mixture"])
every = pytest.mark.parametrize("cls", [DCKmeans, DCGMM, DAEC])
by_admm = pytest.mark.parametrize("cls", [DCKmeans, DCGMM])


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(torch.from_numpy(X), network_of(SETTINGS), seed=0)[0]


def problem(size: tuple[int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random Y, F and U (N, P)."""
    rng = np.random.default_rng(seed)
    n, p, _ = size
    return rng.normal(size=(n, p)), rng.normal(size=(n, p)), 0.3 * rng.normal(size=(n, p))


def parameters(size: tuple[int, int, int], seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random means (K, P), covariances (K, P, P) and weights (K,) of a mixture."""
    rng = np.random.default_rng(seed)
    _, p, k = size
    factors = rng.normal(size=(k, p, p))
    return rng.normal(size=(k, p)), factors @ factors.transpose(0, 2, 1) + 0.2 * np.eye(p), rng.dirichlet(np.ones(k))


def make(kind: str, size: tuple[int, int, int], regularization: float = 1e-6) -> Clustering:
    means, covariances, shares = map(torch.from_numpy, parameters(size))
    return Centroids(means) if kind == "centroids" else Mixture(means, covariances, shares, regularization)


def tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def quick(cls: type[Alternating], **settings: Any) -> Any:
    """Return the method with settings for a run of a second; the fit leaves its state in `state`."""

    class Kept(cls):  # type: ignore[misc,valid-type]
        def _start_state(self, codes: Tensor) -> State:
            state: State = super()._start_state(codes)
            self.state = state
            return state

    short = {"epochs": 8, "batch_size": 32, "n_init": 2, "tolerance": 0.0, "learning_rate": 0.1}
    return Kept(K, **{"random_state": 0, "device": "cpu", **short, **settings})


def codes_of(network: Autoencoder) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = network.encode(torch.from_numpy(X)).numpy()
    return found


# -------------------------------------------------------------------------------------------------- closed forms


@sizes
@weights
@pytest.mark.parametrize("rows", [4, 1000])
def test_kmeans_equals_the_formulas(
    size: tuple[int, int, int], lam: float, rho: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Y, F, U = problem(size)
    centers = parameters(size)[0]
    monkeypatch.setattr(distances, "_ENTRIES", len(centers) * rows)
    kmeans = Centroids(torch.from_numpy(centers))
    y, f, u = tensors(Y, F, U)
    assert kmeans.assign(y).tolist() == [reference.nearest(row, centers) for row in Y]
    assert kmeans.value(y).item() == pytest.approx(reference.kmeans_cost(Y, centers), rel=1e-12)
    expected = reference.kmeans_y_step(Y, F, U, centers, lam, rho)
    np.testing.assert_allclose(kmeans.y_step(y, f - u, lam, rho), expected, rtol=1e-12, atol=1e-13)
    kmeans.update(y)
    np.testing.assert_allclose(kmeans.centers, reference.centroids_of(Y, centers), rtol=1e-12, atol=1e-13)


@sizes
@weights
def test_mixture_equals_the_formulas(size: tuple[int, int, int], lam: float, rho: float) -> None:
    Y, F, U = problem(size)
    means, covariances, shares = parameters(size)
    mixture = make("mixture", size, 0.01)
    assert isinstance(mixture, Mixture)
    y, f, u = tensors(Y, F, U)
    gamma = reference.responsibilities(Y, means, covariances, shares)
    np.testing.assert_allclose(mixture.responsibilities(y), gamma, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(mixture.assign(y), gamma.argmax(axis=1))
    assert mixture.value(y).item() == pytest.approx(reference.mixture_cost(Y, means, covariances, shares), rel=1e-10)
    expected = reference.mixture_y_step(Y, F, U, means, covariances, shares, lam, rho)
    np.testing.assert_allclose(mixture.y_step(y, f - u, lam, rho), expected, rtol=1e-8, atol=1e-10)
    mixture.update(y)
    found = mixture.centers, mixture.covariances, mixture.weights
    for value, wanted in zip(found, reference.em_step(Y, means, covariances, shares, 0.01), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-8, atol=1e-10)


@kinds
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_scheme_updates_by_the_formulas(kind: str, share: float) -> None:
    size, lam, rho, a = SIZES[2], 0.7, 2.0, 0.3
    start, F, _ = problem(size)
    means, covariances, shares = parameters(size)
    state = ADMMState(NO_NETWORK, make(kind, size), torch.from_numpy(start), lam=lam, rho=rho, a=a, dual_step=share)
    Y, U = start, np.zeros_like(start)
    for _ in range(3):
        F = 0.9 * F + 0.1
        state.update(torch.from_numpy(F))
        if kind == "centroids":
            Y = reference.kmeans_y_step(Y, F, U, means, lam, rho)
            means = reference.centroids_of(Y, means)
        else:
            Y = reference.mixture_y_step(Y, F, U, means, covariances, shares, lam, rho)
            means, covariances, shares = reference.em_step(Y, means, covariances, shares, 1e-6)
        U = reference.dual_step(Y, F, U, share)
        for found, expected in ((state.Y, Y), (state.U, U), (state.clustering.centers, means)):
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    index = torch.tensor([3, 0, 17])
    penalty = state.penalty(torch.from_numpy(F)[index].float(), index).item()
    assert penalty == pytest.approx(a * reference.penalty(Y[index], F[index], U[index], rho), rel=1e-5)


@weights
def test_kmeans_y_step_is_the_minimiser(lam: float, rho: float) -> None:
    Y, F, U = problem(SIZES[2])
    kmeans = make("centroids", SIZES[2])
    y, f, u = tensors(Y, F, U)
    found = kmeans.y_step(y, f - u, lam, rho).numpy()
    centers = kmeans.centers[kmeans.assign(y)].numpy()
    for i in range(5):

        def cost(t: np.ndarray, i: int = i) -> float:
            return float(lam / 2 * ((t - centers[i]) ** 2).sum() + rho / 2 * ((t - F[i] + U[i]) ** 2).sum())

        np.testing.assert_allclose(found[i], minimize(cost, np.zeros(len(F[i])), tol=1e-10).x, atol=1e-5)


@weights
def test_mixture_y_step_is_the_minimiser_of_em_s_bound(lam: float, rho: float) -> None:
    Y, F, U = problem(SIZES[2])
    mixture = make("mixture", SIZES[2])
    assert isinstance(mixture, Mixture)
    y, f, u = tensors(Y, F, U)
    gamma = mixture.responsibilities(y)
    rng = np.random.default_rng(3)

    def bound(t: Tensor, gamma: Tensor) -> Tensor:  # by Jensen's inequality
        return (gamma * (gamma.log() - mixture.log_joint(t))).sum(dim=1)

    def value(t: Tensor) -> Tensor:
        return -mixture.log_joint(t).logsumexp(dim=1)

    np.testing.assert_allclose(bound(y, gamma), value(y), rtol=1e-9)
    other = y + torch.from_numpy(rng.normal(size=Y.shape))
    assert (bound(other, gamma) >= value(other) - 1e-9).all()
    found = mixture.y_step(y, f - u, lam, rho)
    for i in range(5):

        def cost(t: np.ndarray, i: int = i) -> float:
            quadratic = rho / 2 * float(((t - F[i] + U[i]) ** 2).sum())
            return lam * bound(torch.from_numpy(t)[None], gamma[i : i + 1]).item() + quadratic

        np.testing.assert_allclose(found[i], minimize(cost, Y[i], tol=1e-9).x, atol=1e-4)


@kinds
@weights
@pytest.mark.parametrize("size", SIZES[1:])
def test_y_step_never_raises_the_augmented_lagrangian(
    kind: str, lam: float, rho: float, size: tuple[int, int, int]
) -> None:
    clustering = make(kind, size)
    for seed in range(5):
        y, f, u = tensors(*problem(size, seed))

        def lagrangian(t: Tensor, v: Tensor = f - u) -> Tensor:  # of every row
            g = torch.stack([clustering.value(row[None]) for row in t])
            return lam * g + rho / 2 * (t - v).square().sum(dim=1)

        assert (lagrangian(clustering.y_step(y, f - u, lam, rho)) <= lagrangian(y) + 1e-10).all()


@kinds
def test_update_never_raises_the_clustering_cost(kind: str) -> None:
    y = torch.from_numpy(problem((200, 3, 4))[0])
    clustering = make(kind, (200, 3, 4), 1e-12)
    values = [clustering.value(y).item()]
    for _ in range(10):
        clustering.update(y)
        values.append(clustering.value(y).item())
    assert (np.diff(values) <= 1e-12).all()
    assert values[-1] < values[0] - 0.1


# ------------------------------------------------------------------------------------- the scheme at a fixed code


def test_kmeans_scheme_holds_y_to_the_code_and_u_to_the_pull_of_the_centres() -> None:
    F = torch.from_numpy(problem((50, 2, 3))[1])
    lam, rho = 2.0, 0.8
    state = ADMMState(NO_NETWORK, make("centroids", (50, 2, 3)), F, lam=lam, rho=rho, a=1.0)
    for _ in range(200):
        state.update(F)
    np.testing.assert_allclose(state.Y, F, atol=1e-8)
    pull = lam * (F - state.clustering.centers[state.labels])
    np.testing.assert_allclose(-rho * state.U, pull, atol=1e-8)
    z = F.float().requires_grad_()  # the theta-step then feels the centres' pull and nothing else
    state.penalty(z, torch.arange(50)).backward()
    assert z.grad is not None
    np.testing.assert_allclose(z.grad, pull / 50, atol=1e-6)


@pytest.mark.parametrize(
    ("share", "collapses", "lam"),
    [(0.5, True, 1.0), (1.1, True, 1.0), (1.1, True, 3.0), (1.2, False, 1.0), (1.2, False, 3.0), (2.0, False, 1.0)],
)
def test_mixture_collapses_below_a_critical_rho(share: float, collapses: bool, lam: float) -> None:
    F = torch.from_numpy(np.random.default_rng(0).normal(size=(400, 1)) * 0.3)
    variance = F.var(correction=0)
    mixture = Mixture(F.mean(dim=0)[None], variance[None, None, None], torch.ones(1), 1e-12)
    rho = share * lam / variance.item()
    state = ADMMState(NO_NETWORK, mixture, F, lam=lam, rho=rho, a=1.0)
    for _ in range(400):
        state.update(F)
    ratio = (state.Y.var(correction=0) / variance).sqrt().item()
    assert ratio == pytest.approx(0 if collapses else 1, abs=1e-3)


@kinds
def test_cluster_without_samples_stays_where_it_is(kind: str) -> None:
    size = (30, 2, 3)
    y = torch.from_numpy(problem(size)[0])
    clustering = make(kind, size)
    clustering.centers[1] = 1e4
    before = {name: value.clone() for name, value in clustering.state_dict().items()}
    for _ in range(3):
        clustering.update(y)
        y = clustering.y_step(y, y, 1.0, 1.0)
    for name, value in clustering.state_dict().items():
        assert value.isfinite().all()
        if name != "weights":
            assert torch.equal(value[1], before[name][1])
            assert not torch.equal(value[0], before[name][0])
    if isinstance(clustering, Mixture):
        assert clustering.weights[1] == 0
    assert (clustering.assign(y) != 1).all()


def test_singular_covariance_fails_the_seed() -> None:
    mixture = Mixture(torch.zeros(1, 2), torch.ones(1, 2, 2), torch.ones(1), 1e-6)
    with pytest.raises(SeedFailed, match="raise regularization=1e-06"):
        mixture.assign(torch.zeros(3, 2, dtype=torch.float64))


# -------------------------------------------------------------------------------------------------- runs on digits


def start_of(method: Any, network: Autoencoder | None = None) -> Any:
    """Return the clustering that a fit started from; one that is no read-out of the code needs the network."""
    start = clone(method)
    start._seed, start.device_, start.network_ = method._seed, method.device_, network
    start._begin(X, method.extras_["embedding_before"])
    return start._clustering()


@every
def test_start_is_the_readout_of_the_pretrained_code(cls: Any, network: Autoencoder) -> None:
    settings: dict[str, Any] = {"n_init": 2, "random_state": 0, "device": "cpu"}
    same: Any = AEGMM(K, regularization=1e-3, **settings) if cls is DCGMM else AEKMeans(K, **settings)
    start = same.fit(X, network=network)
    method = quick(cls, epochs=1).fit(X, network=network)
    np.testing.assert_array_equal(method.extras_["embedding_before"], start.embedding_)
    first = method.trace_[0]
    if cls is DCGMM:
        cost = -start._mixture().score(start.embedding_.astype(np.float64))
    else:
        squared = np.square(start.embedding_ - start.cluster_centers_[start.labels_]).sum(axis=1)
        cost = squared.mean() / (2 if cls is DCKmeans else 1)
    assert first["clustering"] == pytest.approx(cost, rel=1e-4)
    np.testing.assert_array_equal(quick(cls, epochs=0).fit(X, network=network).labels_, start.labels_)
    assert first["label_change"] is None
    assert first.get("primal_residual", 0) == first.get("dual", 0) == first.get("disagreement", 0) == 0


@by_admm
def test_theta_goes_before_the_first_update(cls: Any, network: Autoencoder) -> None:
    method = quick(cls, epochs=1, rho=1.0).fit(X, network=network)
    start = start_of(method)
    before, after = (torch.from_numpy(a).double() for a in (method.extras_["embedding_before"], method.embedding_))
    assert not torch.equal(before, after)
    y = start.y_step(before, after, 1.0, 1.0)
    torch.testing.assert_close(method.state.Y, y, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(method.state.U, y - after, rtol=1e-6, atol=1e-7)


@by_admm
def test_primal_residual_goes_down(cls: Any, network: Autoencoder) -> None:
    trace = quick(cls, epochs=25).fit(X, network=network).trace_
    residuals = [row["primal_residual"] for row in trace[1:]]
    assert np.mean(residuals[-5:]) < residuals[0] / 2
    assert trace[-1]["primal_residual"] < 0.1 * trace[-1]["spread"]
    assert trace[-2]["loss_reconstruction"] < 1.2 * trace[0]["loss_reconstruction"]


@every
def test_trace_columns(cls: Any, network: Autoencoder) -> None:
    method = quick(cls, epochs=3).fit(X, network=network)
    columns = ["phase", "epoch", "loss", "loss_reconstruction", "loss_penalty", "label_change", "clustering"]
    more = ["spread"] if cls is DAEC else ["primal_residual", "dual", "spread", "disagreement"]
    assert [list(row) for row in method.trace_[:3]] == [columns + more] * 3
    assert set(method.trace_[-1]) == {*columns, *more} - {"loss_reconstruction", "loss_penalty"}
    assert [row["epoch"] for row in method.trace_] == [0, 1, 2, 3]
    assert method.n_iter_ == 3 * (len(X) // 32)


@every
def test_labels_are_of_y_and_prediction_of_the_code(cls: Any, network: Autoencoder) -> None:
    method = quick(cls).fit(X, network=network)
    codes = torch.from_numpy(method.embedding_).double()
    clustered = codes if cls is DAEC else method.state.Y
    np.testing.assert_array_equal(method.labels_, method.state.clustering.assign(clustered))
    np.testing.assert_array_equal(method.predict(X), method.state.clustering.assign(codes))


@every
def test_what_figures_need(cls: Any, network: Autoencoder) -> None:
    method = quick(cls, epochs=2).fit(X, network=network)
    with torch.no_grad():
        decoded = method.network_.decode(torch.from_numpy(method.cluster_centers_).float())
    np.testing.assert_array_equal(method.extras_["decoded_centers"], decoded)
    np.testing.assert_array_equal(method.extras_["embedding_before"], codes_of(network))
    assert method.readouts_["modularity"].shape == (len(X),)


@every
def test_large_tolerance_stops_after_one_update(cls: Any, network: Autoencoder) -> None:
    method = quick(cls, tolerance=0.99, epochs=20).fit(X, network=network)
    assert method.converged_
    assert method.n_iter_ == len(X) // 32
    assert len(method.trace_) == 2
    assert method.trace_[-1]["loss"] is None
    assert 0 <= method.trace_[-1]["label_change"] < 0.99


def test_labels_of_the_code_must_settle_too(network: Autoencoder) -> None:
    method = quick(DCKmeans, epochs=1, rho=0.1).fit(X, network=network)
    start = start_of(method)
    labels = start.assign(torch.from_numpy(method.extras_["embedding_before"]).double())
    assert torch.equal(method.state.labels, labels)  # so near to its centroid, no y_i can change
    moved = method.state.code_labels != labels
    assert method.trace_[-1]["label_change"] == moved.double().mean().item() > 0


class Interrupted(Exception):
    pass


@every
def test_run_goes_on_from_a_checkpoint_to_the_same_bits(cls: Any, network: Autoencoder, tmp_path: Path) -> None:
    """With labels still moving, which the common suite's easy data do not show."""
    expected = quick(cls, epochs=6).fit(X, network=network)
    owner = type(expected.state)
    update = owner.update
    for stop in (2, 6):
        updates: list[None] = []

        def interrupted(self: State, codes: Tensor, stop: int = stop, updates: list[None] = updates) -> None:
            updates.append(None)
            if len(updates) == stop:
                raise Interrupted
            update(self, codes)

        with Runtime(checkpoints=tmp_path / str(stop), checkpoint_every=1).open():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(owner, "update", interrupted)
                with pytest.raises(Interrupted):
                    quick(cls, epochs=6).fit(X, network=network)
            resumed = quick(cls, epochs=6).fit(X, network=network)
        for name, value in expected.state.state_dict().items():
            assert torch.equal(value, resumed.state.state_dict()[name]), name
        assert resumed.trace_ == expected.trace_
        np.testing.assert_array_equal(resumed.labels_, expected.labels_)


def test_default_rho_of_the_mixture_is_twice_its_largest_precision(network: Autoencoder) -> None:
    method = quick(DCGMM, epochs=1, lam=3.0).fit(X, network=network)
    start = start_of(method)
    smallest = np.linalg.eigvalsh(start.covariances).min()
    assert method.state.rho == pytest.approx(2 * 3.0 / smallest)
    assert quick(DCGMM, epochs=1, rho=7.0).fit(X, network=network).state.rho == 7.0


@every
def test_centers_may_start_as_those_of_the_input_through_the_encoder(cls: Any, network: Autoencoder) -> None:
    method = quick(cls, epochs=1, initial_centers="input").fit(X, network=network)
    means = k_means(X, K, n_init=2, random_state=method._seed).cluster_centers_
    with torch.no_grad():
        expected = network.encode(torch.from_numpy(means)).double()
    torch.testing.assert_close(start_of(method, network).centers, expected, rtol=1e-5, atol=1e-6)


@every
def test_centers_may_start_as_the_means_of_a_random_partition_through_the_encoder(
    cls: Any, network: Autoencoder
) -> None:
    seen: list[np.ndarray] = []

    class Noted(cls):
        def _codes(self, X: np.ndarray) -> np.ndarray:
            seen.append(X)
            codes: np.ndarray = super()._codes(X)
            return codes

    settings: dict[str, Any] = {"epochs": 1, "initial_centers": "random"}
    first, other = (quick(Noted, **settings, random_state=seed).fit(X, network=network) for seed in (0, 1))
    means, others = seen
    assert means.shape == (K, X.shape[1])
    np.testing.assert_allclose(means.mean(axis=0), X.mean(axis=0), atol=1e-6)  # parts of 40 rows each
    assert (np.abs(means - X.mean(axis=0)).max(axis=1) < 5 * X.std(axis=0).max() / 40**0.5).all()
    assert not np.allclose(means, others)
    starts = [start_of(method, network) for method in (first, other)]
    with torch.no_grad():
        expected = network.encode(torch.from_numpy(means).float()).double()
    torch.testing.assert_close(starts[0].centers, expected, rtol=1e-5, atol=1e-6)
    assert first.trace_[0].get("primal_residual", 0) == 0


@pytest.mark.parametrize("initial_centers", ["input", "random"])
def test_mixture_has_then_the_diagonal_covariances_of_other_clusters(
    initial_centers: str, network: Autoencoder
) -> None:
    method = quick(DCGMM, epochs=1, initial_centers=initial_centers, rho=1000.0).fit(X, network=network)
    start, codes = start_of(method, network), codes_of(network)
    labels = k_means(codes, K, n_init=1, random_state=method._seed).labels_
    for k in range(K):
        rows = codes[labels == k].astype(np.float64)
        np.testing.assert_allclose(start.covariances[k], np.diag(rows.var(axis=0) + 1e-3), rtol=1e-5)
        assert start.weights[k] == pytest.approx(len(rows) / len(X))
    assert not hasattr(method, "precisions_cholesky_")
    assert (method.predict(X) >= 0).all()


def test_reconstruction_may_count_half(network: Autoencoder) -> None:
    whole, half = (
        quick(DCKmeans, epochs=1, learning_rate=1e-9, reconstruction_weight=weight).fit(X, network=network).trace_[0]
        for weight in (1.0, 0.5)
    )
    assert half["loss_reconstruction"] == pytest.approx(whole["loss_reconstruction"] / 2, rel=1e-6)
    assert half["loss_penalty"] == pytest.approx(whole["loss_penalty"], rel=1e-6)


def test_first_step_of_adadelta_is_as_large_as_the_root_of_its_epsilon(network: Autoencoder) -> None:
    sizes = []
    for eps in (1e-6, 1e-8):
        settings: dict[str, Any] = {"epochs": 1, "batch_size": len(X), "learning_rate": 1.0, "adadelta_eps": eps}
        moved = quick(DCKmeans, **settings).fit(X, network=network).network_
        pairs = zip(moved.parameters(), network.parameters(), strict=True)
        sizes.append(torch.cat([(new - old).detach().flatten() for new, old in pairs]).abs().max().item())
    expected = [(eps / 0.1) ** 0.5 for eps in (1e-6, 1e-8)]  # sqrt(eps) g / sqrt(0.1 g^2 + eps)
    np.testing.assert_allclose(sizes, expected, rtol=0.05)


def test_daec_pulls_codes_to_their_centres(network: Autoencoder) -> None:
    weak, strong = (quick(DAEC, lam=lam).fit(X, network=network).trace_ for lam in (0.0, 1.0))
    assert strong[-1]["clustering"] < 0.8 * strong[0]["clustering"]
    assert {row["loss_penalty"] for row in weak[:-1]} == {0.0}
    assert weak[-2]["loss_reconstruction"] < strong[-2]["loss_reconstruction"]


def test_daec_penalty_is_the_printed_one(network: Autoencoder) -> None:
    method = quick(DAEC, lam=0.4, epochs=1).fit(X, network=network)
    z, centers = torch.from_numpy(method.embedding_), method.cluster_centers_
    rows = torch.tensor([5, 2, 9])
    distances = [((method.embedding_[i] - centers[method.labels_[i]]) ** 2).sum() for i in rows]
    assert method.state.penalty(z[rows], rows).item() == pytest.approx(0.4 * np.mean(distances), rel=1e-5)
