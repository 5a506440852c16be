"""The lasso problems' parts: certificates at absurd points, the active-set method, and what the solvers rely on."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from deepclust.solvers.lasso import OwnAtoms, SeparableLasso, SharedAtoms, SmoothedAtoms, active_set


def problems(H: Tensor, support: Tensor, alpha: float, nonnegative: bool) -> list[SeparableLasso]:
    left, singular, _ = torch.linalg.svd(H, full_matrices=False)
    atoms = left * singular
    shared = SharedAtoms(atoms, singular.square(), atoms, torch.arange(len(H)), alpha, nonnegative)
    return [OwnAtoms(H[support], H, alpha, nonnegative), shared]


def points(problem: SeparableLasso, n: int, seed: int) -> Tensor:
    z = torch.randn(len(problem.curvature()), n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return problem.project(z)


@pytest.fixture(params=[0, 1], ids=["own", "shared"])
def case(request: pytest.FixtureRequest, H: Tensor, support: Tensor, scale: float) -> tuple[SeparableLasso, int]:
    return problems(H, support, 0.1 * scale, nonnegative=False)[request.param], (support.shape[1], len(H))[
        request.param
    ]


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e6, 1e13])
def test_no_bound_is_above_the_minimum(
    H: Tensor, support: Tensor, scale: float, size: float, nonnegative: bool
) -> None:
    sizes = support.shape[1], len(H)
    for problem, n in zip(problems(H, support, 1e-3 * scale, nonnegative), sizes, strict=True):
        solved = problem.polish(torch.zeros(len(H), n, dtype=torch.float64))
        minimum, bound = problem.certificate(solved)
        assert torch.equal(solved, problem.project(solved))
        assert (minimum - bound <= 1e-5 * minimum).all()
        for seed in range(5):
            _, bound = problem.certificate(size * points(problem, n, seed))
            assert (bound <= minimum * (1 + 1e-9)).all()


def test_gradient_is_the_derivative(case: tuple[SeparableLasso, int]) -> None:
    problem, n = case
    z = points(problem, n, 0).requires_grad_()
    (expected,) = torch.autograd.grad(problem.fit(z).squared.sum(), z)
    torch.testing.assert_close(problem.gradient(z).detach(), expected)


def test_minimize_meets_its_optimality_condition(case: tuple[SeparableLasso, int]) -> None:
    problem, n = case
    w = points(problem, n, 1)
    for penalty in (0.01, 1.0, 100.0):
        rho = torch.full((len(w), 1), penalty, dtype=torch.float64)
        v = problem.minimize(problem.factor(rho), w, rho)
        torch.testing.assert_close(-problem.fit(v).correlations, rho * (w - v), atol=1e-8, rtol=1e-8)


def test_divergence_is_what_the_linearisation_leaves(case: tuple[SeparableLasso, int]) -> None:
    problem, n = case
    x, y = points(problem, n, 2), points(problem, n, 3)
    expected = problem.fit(x).squared - problem.fit(y).squared - (problem.gradient(y) * (x - y)).sum(dim=1)
    torch.testing.assert_close(problem.divergence(x, y), expected)
    lipschitz = problem.lipschitz()
    assert (problem.divergence(x, y) <= 0.5 * (lipschitz * (x - y).square()).sum(dim=1) * (1 + 1e-9)).all()
    assert (problem.curvature() <= lipschitz * (1 + 1e-9)).all()


def test_the_metric_majorises_the_smoothed_problem(H: Tensor, support: Tensor, scale: float) -> None:
    N, k = support.shape
    rng = np.random.default_rng(0)
    T = sp.csr_matrix(rng.normal(size=(40, N * k)))  # any map will do
    bound = float(np.linalg.norm(T.toarray(), 2) ** 2)
    problem = SmoothedAtoms(OwnAtoms(H[support], H, scale, True), sp.csr_matrix(T.T @ T), 0.3, bound)
    for _ in range(20):
        x, y = (torch.from_numpy(rng.normal(size=(1, N * k))) for _ in range(2))
        assert (problem.divergence(x, y) <= 0.5 * (problem.metric() * (x - y).square()).sum(dim=1)).all()


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relative", [1e-3, 0.1])
def test_active_set_reaches_the_minimum_from_any_start(
    H: Tensor, support: Tensor, scale: float, relative: float, nonnegative: bool
) -> None:
    alpha = relative * scale
    problem = OwnAtoms(H[support], H, alpha, nonnegative)
    best = active_set(problem.gram, problem.linear, torch.zeros(support.shape).double(), alpha, nonnegative)
    minimum, bound = problem.certificate(best)
    assert (minimum - bound <= 1e-6 * minimum).all()
    for seed in range(4):
        start = points(problem, support.shape[1], seed)
        start = start * (start.abs() > 0.2 * seed)
        found = active_set(problem.gram, problem.linear, start, alpha, nonnegative)
        torch.testing.assert_close(problem.certificate(found)[0], minimum, rtol=1e-6, atol=0)


def test_no_step_of_the_active_set_raises_the_objective(
    H: Tensor, support: Tensor, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha = 1e-3 * scale
    problem = OwnAtoms(H[support], H, alpha, True)
    start = points(OwnAtoms(H[support], H, alpha, True), support.shape[1], 0)
    reached: list[Any] = [problem.certificate(start)[0]]
    for steps in range(1, 15):
        monkeypatch.setattr("deepclust.solvers.lasso._STEPS", steps)
        found = active_set(problem.gram, problem.linear, start, alpha, True)
        assert (found >= 0).all()
        reached.append(problem.certificate(found)[0])
        assert (reached[-1] <= reached[-2] * (1 + 1e-9)).all()
    assert (reached[-1] < reached[0]).all()
