"""SENet: coefficients and objective against loops, the objective's optimum, and how the graph is read off."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from deepclust.methods.self_expression import senet
from deepclust.methods.self_expression.senet import SENet, SENetState, objective, soft_threshold
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import senet as reference

X = load_digits().data[:200].astype(np.float32) / 16
PCA = {"network": "pca", "n_embedding": 12}


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(torch.from_numpy(X), network_of(PCA), seed=0)[0]


def quick(n_clusters: int = 10, **settings: Any) -> SENet:
    short = {"random_state": 0, "depth": 1, "width": 32, "epochs": 3, "batch_size": 50, "device": "cpu"}
    return SENet(n_clusters, **{**short, **settings})


def unit_codes(method: SENet) -> np.ndarray:
    found: np.ndarray = method.embedding_ / (np.linalg.norm(method.embedding_, axis=1, keepdims=True) + 1e-6)
    return found


# ---------------------------------------------------------------------------------------------------- the objective


def test_coefficients_and_objective_equal_the_formulas() -> None:
    rng = np.random.default_rng(0)
    q, k, x = rng.normal(size=(7, 6)), rng.normal(size=(7, 6)), rng.normal(size=(7, 4))
    state = SENetState(4, 1, 6, seed=0).double()
    with torch.no_grad():
        state.threshold.fill_(0.7)
        c = state.coefficients(torch.from_numpy(q), torch.from_numpy(k))
    np.testing.assert_allclose(c, reference.coefficients(q, k, 0.7), rtol=1e-10, atol=1e-14)
    c.fill_diagonal_(0)
    error, norms = objective(c, torch.from_numpy(x), torch.from_numpy(x), 0.9)
    expected = reference.objective(c.numpy(), x, 200.0, 0.9)
    assert 100 * error.item() + norms.item() == pytest.approx(expected, rel=1e-10)


def test_gradients_of_networks_and_threshold_are_those_of_the_objective() -> None:
    torch.manual_seed(0)
    c, atoms = torch.randn(3, 5, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    b = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def loss(t: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        error, norms = objective(soft_threshold(t, b), atoms[:3], atoms, 0.9)
        return 100 * error + norms

    assert torch.autograd.gradcheck(loss, (c.requires_grad_(), b))


def test_queries_and_keys_that_can_be_anything_reach_the_optimum_of_the_elastic_net() -> None:
    """Free tables of queries and keys of 50 samples, whose products can be any matrix, against an exact solver."""
    rng = np.random.default_rng(0)
    groups = np.arange(50) % 5
    bases = rng.normal(size=(5, 3, 12))
    x = np.einsum("nr,nrd->nd", rng.normal(size=(50, 3)), bases[groups])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    best = reference.elastic_net(x, 20.0, 0.9)
    tables = [torch.from_numpy(rng.normal(size=(50, 50))).requires_grad_() for _ in range(2)]
    b = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([*tables, b], lr=0.05)
    atoms = torch.from_numpy(x)
    diagonal = torch.eye(50, dtype=torch.bool)
    for step in range(1200):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / 1200)) / 2
        c = (soft_threshold(tables[0] @ tables[1].T, b) / 50).masked_fill(diagonal, 0)
        error, norms = objective(c, atoms, atoms, 0.9)
        optimizer.zero_grad()
        loss = 10 * error + norms
        loss.backward()
        optimizer.step()
    optimum = reference.objective(best, x, 20.0, 0.9)
    assert optimum <= loss.item() * (1 + 1e-9)
    assert loss.item() < 1.05 * optimum


# ------------------------------------------------------------------------------------------------------- training


def test_training_minimises_the_objective_of_all_samples_without_themselves(network: Autoencoder) -> None:
    method = quick(epochs=1, batch_size=len(X), n_nonzero=len(X)).fit(X, network=network)
    state = SENetState(12, 1, 32, seed=derive_seed(method._seed, "weights"))
    x = torch.from_numpy(unit_codes(method))
    with torch.no_grad():
        q, k = state.query(x).double().numpy(), state.key(x).double().numpy()
    expected = reference.objective((q @ k.T) / 32, x.double().numpy(), 200.0, 0.9)
    assert method.trace_[0]["loss"] == pytest.approx(expected, rel=1e-4)
    assert method.trace_[0]["threshold"] == pytest.approx(0, abs=2e-3)  # one step of Adam's
    trace = quick(epochs=40).fit(X, network=network).trace_
    assert trace[-1]["loss"] < 0.5 * trace[0]["loss"]


def test_hidden_weights_are_hes_and_the_last_glorots() -> None:
    state = SENetState(20, 2, 100, seed=0)
    for net in (state.query, state.key):
        layers = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
        bounds = [(6 / 20) ** 0.5, (6 / 100) ** 0.5, (6 / 200) ** 0.5]
        for layer, bound in zip(layers, bounds, strict=True):
            assert float(layer.weight.detach().abs().max()) == pytest.approx(bound, rel=0.01)
            assert not layer.bias.any()
    weights = dict(state.named_parameters())
    assert not torch.equal(weights["query.0.weight"], weights["key.0.weight"])


def test_rate_falls_along_a_half_cosine_and_gradients_are_clipped(
    network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, norms = [], []

    def noting(name: str, module: Any, rate: float) -> torch.optim.Optimizer:
        class Noting(torch.optim.SGD):
            def step(self, closure: Any = None) -> Any:
                rates.append(self.param_groups[0]["lr"])
                norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in module.parameters())))
                return super().step(closure)

        return Noting(module.parameters(), lr=rate)

    monkeypatch.setattr(senet, "make_optimizer", noting)
    quick(epochs=4, batch_size=100, learning_rate=0.01).fit(X, network=network)
    expected = [0.01 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in (0, 0, 1, 1, 2, 2, 3, 3)]
    np.testing.assert_allclose(rates, expected)
    np.testing.assert_allclose(norms, 1e-3, rtol=1e-2)


def test_a_part_of_the_samples_trains_and_all_have_coefficients(network: Autoencoder) -> None:
    method = quick(n_train=60, batch_size=30, epochs=2, n_nonzero=20).fit(X, network=network)
    assert method.n_iter_ == 4
    C = method.extras_["coefficients"]
    assert C.shape == (200, 200)
    assert np.diff(C.indptr).max() == 20
    assert not C.diagonal().any()


# ------------------------------------------------------------------------------------------------------- read-out


def test_largest_coefficients_by_modulus_are_kept(network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = quick(n_nonzero=len(X)).fit(X, network=network).extras_["coefficients"].toarray()
    monkeypatch.setattr(senet, "_ENTRIES", 7 * len(X))  # seven rows at a time
    kept = quick(n_nonzero=15).fit(X, network=network).extras_["coefficients"].toarray()
    for full, row in zip(whole, kept, strict=True):
        largest = np.argsort(-abs(full))[:15]
        np.testing.assert_allclose(row[largest], full[largest], rtol=1e-5, atol=1e-9)
        assert set(np.flatnonzero(row)) <= set(largest)


def test_graph_joins_rows_of_alike_coefficients() -> None:
    """Rows that use the same samples, in any scale, are neighbours; three groups of them are three components."""
    groups = np.repeat(np.arange(3), 10)
    rng = np.random.default_rng(0)
    C = (groups[:, None] == groups) * (1 + 0.1 * rng.random((30, 30))) * rng.uniform(0.1, 10, size=(30, 1))
    method = quick(3)
    method._seed = 0
    vectors = method._vectors(sp.csr_matrix(C.astype(np.float32)))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    np.testing.assert_allclose(vectors @ vectors.T, groups[:, None] == groups, atol=1e-8)
    method.n_vectors = 7
    assert method._vectors(sp.csr_matrix(C.astype(np.float32))).shape == (30, 7)


def test_independent_subspaces_are_found() -> None:
    rng = np.random.default_rng(1)
    y = np.arange(120) % 3
    bases = np.linalg.qr(rng.normal(size=(12, 9)))[0].T.reshape(3, 3, 12)
    rows = np.einsum("nr,nrd->nd", rng.normal(size=(120, 3)), bases[y]).astype(np.float32)
    identity = pretrain(torch.from_numpy(rows), network_of(PCA), seed=0)[0]
    method = quick(3, epochs=150, batch_size=60, n_neighbors=5).fit(rows, network=identity)
    assert adjusted_rand_score(y, method.labels_) > 0.9
    C = abs(method.extras_["coefficients"].toarray())
    assert C[y[:, None] == y].sum() > 0.5 * C.sum()  # a third by chance
