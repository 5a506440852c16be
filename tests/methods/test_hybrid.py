"""The hybrid: its objective, its two half-steps, the accept-or-restore rule and what is read off Z."""

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from deepclust.graph.knn import knn_graph
from deepclust.graph.laplacian import laplacian
from deepclust.graph.partition import modularity
from deepclust.graph.weights import gaussian_weights
from deepclust.methods.self_expression._self_expression import strongest_edges, to_unit_covariance
from deepclust.methods.self_expression.hybrid import Hybrid, HybridState, _Problem, _Rows
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import hybrid as reference

N = 400
X = load_digits().data[:N].astype(np.float32) / 16
DATA = torch.from_numpy(X)
GRAPH = gaussian_weights(knn_graph(X, 8), bandwidth="local", symmetrize="mean")
SETTINGS = {"hidden": [32, 64], "n_embedding": 6, "batch_norm": True, "epochs": 10, "batch_size": 64}
CODES = ["whitened", "standardized", "unit", "plain"]


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(DATA, network_of(SETTINGS), seed=0)[0]


def hybrid(**settings: Any) -> Hybrid:
    return Hybrid(
        10, **{"n_candidates": 8, "epochs": 5, "batch_size": 64, "random_state": 0, "device": "cpu", **settings}
    )


def problem(network: Autoencoder, **settings: Any) -> _Problem:
    method = hybrid(**settings)
    support = torch.from_numpy(strongest_edges(GRAPH, 8))
    state = HybridState(copy.deepcopy(network), DATA, support, method.safeguard)
    return _Problem(method, DATA, GRAPH, state)


def dense(state: HybridState) -> np.ndarray:
    return state.affinity().toarray()


# --------------------------------------------------------------------------------------------------- the objective


@pytest.mark.parametrize("code", CODES)
def test_objective_is_the_papers(code: str, network: Autoencoder) -> None:
    made = problem(network, code=code, beta=3.0, gamma=0.5)
    made.update_z()
    with torch.no_grad():
        reconstruction = made.state.network(DATA)[1].numpy().astype(float)
    expected = reference.objective(
        X.astype(float),
        reconstruction,
        made.state.bank.numpy().astype(float),
        dense(made.state),
        GRAPH.toarray(),
        made.alpha,
        3.0,
        0.5,
    )
    found = made.value()
    assert found.pop("objective") == pytest.approx(sum(expected.values()))
    assert found == pytest.approx(expected, rel=1e-5)


def test_scaling_the_code_scales_all_but_the_reconstruction_by_its_square(network: Autoencoder) -> None:
    made = problem(network, code="plain")
    made.update_z()
    before, c = made.value(), 0.25
    last, first = made.state.network.encoder[-1], made.state.network.decoder[0]
    assert isinstance(last, torch.nn.Linear)
    assert isinstance(first, torch.nn.Linear)
    with torch.no_grad():
        last.weight.mul_(c)
        last.bias.mul_(c)
        first.weight.div_(c)
    made._encode_all()
    after = made.value()
    for term in ("self_expression", "smoothness"):
        assert after[term] == pytest.approx(c**2 * before[term], rel=1e-5)
    assert after["reconstruction"] == pytest.approx(before["reconstruction"], rel=1e-5)


def test_both_global_terms_are_one_quadratic_form(network: Autoencoder) -> None:
    made = problem(network)
    made.z_step()
    value = made.value()
    product = made.rows.times(made.state.bank, torch.arange(N))
    trace = float((made.state.bank * product).double().sum()) / N
    assert trace == pytest.approx(value["self_expression"] + value["smoothness"], rel=1e-5)


def test_whitened_code_has_unit_covariance(network: Autoencoder) -> None:
    H = problem(network, code="whitened").state.bank.double()
    assert float((H.T @ H / N - torch.eye(H.shape[1])).abs().max()) < 1e-5
    assert float(H.mean(dim=0).abs().max()) < 1e-5


def test_directions_in_which_the_code_does_not_vary_are_not_blown_up() -> None:
    codes = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    codes[:, 3] = 2.0
    shift, transform = to_unit_covariance(codes, whiten=True)
    H = (codes - shift) @ transform
    assert torch.allclose(H[:, :3].T @ H[:, :3] / 50, torch.eye(3, dtype=torch.float64))
    assert float(H[:, 3].abs().max()) < 1e-6
    for constant in (torch.zeros(5, 2, dtype=torch.float64), torch.ones(5, 2, dtype=torch.float64)):
        shift, transform = to_unit_covariance(constant, whiten=False)
        assert not bool(((constant - shift) @ transform).any())


# -------------------------------------------------------------------------------------------------- the half-steps


@pytest.mark.parametrize("code", CODES)
def test_gradients_of_the_batches_sum_to_that_of_f_when_the_bank_is_fresh(code: str, network: Autoencoder) -> None:
    """The gradient in the weights, through the map that gives all codes mean 0 and covariance I, by another root."""
    made = problem(network, code=code, beta=10.0, gamma=0.0)
    made.z_step()
    bank = made.state.bank.clone()
    parameters = list(made.state.network.encoder.parameters())

    def gradient(loss: Tensor) -> Tensor:
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])

    made.state.network.eval()
    total = torch.zeros(sum(part.numel() for part in parameters))
    for index in torch.arange(N).split(100):
        made.state.bank.copy_(bank)
        total += gradient(made.terms(DATA[index], index, torch.Generator())["structure"]) * len(index) / N
    codes = made.state.network.encode(DATA).double()
    centred = codes - codes.mean(dim=0)
    if code == "whitened":
        H = torch.linalg.solve(torch.linalg.cholesky(centred.T @ centred / N), centred.T).T
    elif code == "standardized":
        H = centred / centred.square().mean(dim=0).sqrt()
    else:
        H = codes / codes.norm(dim=1, keepdim=True) if code == "unit" else codes
    M = (np.eye(N) - dense(made.state)).T @ (np.eye(N) - dense(made.state)) + 10.0 * laplacian(GRAPH).toarray()
    whole = gradient((H * (torch.from_numpy(M) @ H)).sum() / N)
    assert float((total - whole).norm() / whole.norm()) < 1e-4


def test_products_of_rows_are_the_whole_products_rows() -> None:
    M = sp.csr_matrix(sp.random_array((30, 30), density=0.2, rng=np.random.default_rng(0)))
    H = torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    index = torch.tensor([7, 0, 29, 12])
    expected = torch.from_numpy(M @ H.numpy())[index]
    torch.testing.assert_close(_Rows(M, H).times(H, index), expected)
    assert not bool(_Rows(sp.csr_matrix((30, 30)), H).times(H, index).any())


def test_z_step_never_raises_the_objective(network: Autoencoder) -> None:
    for solver, iterations in [("admm", 300), ("admm", 2), ("fista", 5), ("subgradient", 20)]:
        made = problem(network, solver=solver, solver_iterations=iterations)
        values = [made.value()["objective"]]
        for _ in range(4):
            made.update_z()
            values.append(made.value()["objective"])
        assert all(after <= before * (1 + 1e-9) for before, after in itertools.pairwise(values)), solver


def test_z_stays_on_its_candidates_without_a_diagonal(network: Autoencoder) -> None:
    made = problem(network)
    made.update_z()
    Z = dense(made.state)
    assert not Z.diagonal().any()
    assert Z.min() >= 0
    assert Z.any()
    support = strongest_edges(GRAPH, 8)
    allowed = np.zeros((N, N + 1), dtype=bool)
    np.put_along_axis(allowed, support, True, axis=1)
    assert not Z[~allowed[:, :N]].any()


def test_safeguarded_objective_never_rises(network: Autoencoder) -> None:
    method = hybrid(epochs=12, learning_rate=0.01).fit(X, graph=GRAPH, network=network)
    values = []
    for row in method.trace_:
        values.append(row["z_objective"])
        if row.get("accepted"):
            values.append(row["theta_objective"])
    assert all(after <= before * (1 + 1e-9) for before, after in itertools.pairwise(values))
    rejected = [row["learning_rate"] for row in method.trace_ if row.get("accepted") is False]
    assert rejected, "a learning rate this high must be refused at least once"
    assert method.trace_[-2]["learning_rate"] <= 0.01 / 2 ** (len(rejected) - 1)


def test_rejected_step_leaves_every_bit_as_it_was(network: Autoencoder) -> None:
    made = problem(network, learning_rate=5.0)
    made.z_step()
    before = copy.deepcopy(made.state.state_dict())
    index = torch.arange(64)
    sum(made.terms(DATA[index], index, torch.Generator()).values()).backward()  # type: ignore[union-attr]
    made.optimizer.step()
    assert made.after_theta_step()["accepted"] is False
    for name, value in made.state.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not made.optimizer.state_dict()["state"]
    assert made.optimizer.param_groups[0]["lr"] == 2.5


def test_frozen_statistics_do_not_move_and_others_do(network: Autoencoder) -> None:
    name = "encoder.1.running_mean"
    start = network.state_dict()[name]
    assert torch.equal(hybrid(epochs=1).fit(X, graph=GRAPH, network=network).network_.state_dict()[name], start)
    free = hybrid(epochs=1, safeguard=False).fit(X, graph=GRAPH, network=network)
    assert not torch.equal(free.network_.state_dict()[name], start)


@pytest.mark.parametrize(
    "settings",
    [
        {"code": "plain", "nonnegative": False, "solver": "fista", "solver_iterations": 50, "edges": "batch"},
        {"edges": "batch", "safeguard": False},
        {"solver": "subgradient"},
        {"beta": 0.0},
        {"lambda2": 0.1, "epochs": 2},
        {"bandwidth": "median"},
        {"candidates": "graph"},
        {"epochs": 0},
        *[{"code": code} for code in CODES],
    ],
    ids=str,
)
def test_variants_run_and_say_how_it_went(settings: dict[str, Any], network: Autoencoder) -> None:
    given = {"epochs": 3, **settings}
    method = hybrid(**given).fit(X, graph=GRAPH, network=network)
    assert len(method.trace_) == given["epochs"] + 1
    for row in method.trace_:
        named = [row[f"z_{term}"] for term in ("self_expression", "sparsity", "smoothness", "reconstruction")]
        assert sum(named) + row.get("z_smoothness_of_z", 0) == pytest.approx(row["z_objective"])
        assert row["z_gap"] >= 0
        assert 1 <= row["code_rank"] <= 6
    assert set(method.readouts_) == {"spectral", "kmeans", "union"}
    for labels in [method.labels_, *method.readouts_.values()]:
        assert labels.shape == (N,)
        assert set(labels) <= set(range(10))


def test_batch_edges_are_all_edges_when_the_batch_is_everything(network: Autoencoder) -> None:
    made = problem(network, edges="batch", beta=10.0, gamma=0.0)
    made.z_step()
    value = made.value()
    made.state.network.eval()
    index = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    found = float(made.terms(DATA[index], index, torch.Generator())["structure"].detach())
    H, S = made.state.bank.double().numpy(), np.eye(N) - laplacian(GRAPH).toarray()
    edges = (S * ((H[:, None] - H) ** 2).sum(axis=2)).sum() / 2 / N
    assert found == pytest.approx(value["self_expression"] + 10.0 * edges, rel=1e-4)


# ----------------------------------------------------------------------------------------------------- the read-out


def test_labels_are_the_candidate_of_largest_modularity(network: Autoencoder) -> None:
    method = hybrid().fit(X, graph=GRAPH, network=network)
    table, labels = method.extras_["candidates"], method.extras_["candidate_labels"]
    best = int(table["modularity"].to_numpy().argmax())
    np.testing.assert_array_equal(labels[best], method.labels_)
    Z = method.extras_["affinity"]
    affinity = sp.csr_matrix(abs(Z) + abs(Z).T)
    assert modularity(affinity, method.labels_) == pytest.approx(table["modularity"][best])


def test_candidates_are_the_strongest_edges() -> None:
    W = sp.csr_matrix(
        np.array([[0, 3, 1, 2, 0], [3, 0, 0, 0, 0], [1, 0, 0, 5, 0], [2, 0, 5, 0, 0], [0, 0, 0, 0, 0]], dtype=float)
    )
    assert strongest_edges(W, 2).tolist() == [[1, 3], [0, 5], [3, 0], [2, 0], [5, 5]]
    assert strongest_edges(W, 9).shape == (5, 3)
    assert strongest_edges(sp.csr_matrix((3, 3)), 4).tolist() == [[3], [3], [3]]
