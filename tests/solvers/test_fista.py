"""FISTA: the rate it is known for, backtracking, restart, and rows that are independent of each other."""

import pytest
import torch
from torch import Tensor

from deepclust.solvers.fista import fista
from deepclust.solvers.lasso import OwnAtoms
from deepclust.solvers.self_expression import sparse_self_expression


class Watched(OwnAtoms):
    """Remembers the objective at every certificate, and knows no bound, so that no row is ever closed."""

    def __init__(self, atoms: Tensor, h: Tensor, alpha: float, nonnegative: bool) -> None:
        super().__init__(atoms, h, alpha, nonnegative)
        self.seen: list[Tensor] = []

    def certificate(self, z: Tensor) -> tuple[Tensor, Tensor]:
        objective, _ = super().certificate(z)
        self.seen.append(objective)
        return objective, torch.full_like(objective, -torch.inf)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relative", [1e-2, 1.0])
def test_fista_obeys_its_rate_at_every_iteration(
    H: Tensor, support: Tensor, scale: float, relative: float, nonnegative: bool
) -> None:
    alpha = relative * scale
    best = sparse_self_expression(H, support, alpha, nonnegative=nonnegative, tolerance=1e-11, max_iter=3000)
    problem = Watched(H[support], H, alpha, nonnegative)
    start = torch.ones(support.shape, dtype=torch.float64)
    L = problem.lipschitz()
    fista(problem, start, curvature=L, tolerance=0.0, max_iter=120, restart=False, check_every=1)
    distance = (start - best.coefficients).square().sum(dim=1)
    assert len(problem.seen) == 121
    for t, objective in enumerate(problem.seen[1:], start=1):
        bound = 2 * L[:, 0] * distance / (t + 1) ** 2
        assert (objective - best.objective <= bound + 1e-9 * best.objective).all(), f"iteration {t}"


def test_backtracking_finds_the_curvature(H: Tensor, support: Tensor, scale: float) -> None:
    problem = OwnAtoms(H[support], H, 0.1 * scale, True)
    start = torch.zeros(support.shape, dtype=torch.float64)
    low = fista(problem, start, curvature=1e-6 * problem.lipschitz(), tolerance=1e-6, max_iter=3000)
    exact = fista(problem, start, curvature=problem.lipschitz(), tolerance=1e-6, max_iter=3000)
    assert low.converged
    assert low.n_iter <= 2 * exact.n_iter
    torch.testing.assert_close(low.objective, exact.objective, rtol=2e-6, atol=0)


def test_restart_pays(H: Tensor, support: Tensor, scale: float) -> None:
    problem = OwnAtoms(H[support], H, 0.01 * scale, True)
    start = torch.zeros(support.shape, dtype=torch.float64)
    iterations = [
        fista(problem, start, curvature=problem.lipschitz(), tolerance=1e-5, max_iter=20_000, restart=restart).n_iter
        for restart in (True, False)
    ]
    assert iterations[0] < 0.5 * iterations[1]


def test_history_falls_to_the_tolerance(H: Tensor, support: Tensor, scale: float) -> None:
    problem = OwnAtoms(H[support], H, 0.1 * scale, True)
    start = torch.zeros(support.shape, dtype=torch.float64)
    found = fista(problem, start, curvature=problem.curvature(), tolerance=1e-5, max_iter=3000, check_every=7)
    assert list(found.history) == sorted(found.history, reverse=True)
    assert len(found.history) == found.n_iter // 7 + 1
    assert found.history[-1] == found.residual.max()
    assert found.residual.max() <= 1e-5


def test_a_problem_of_a_batch_is_solved_as_if_alone(H: Tensor, support: Tensor, scale: float) -> None:
    problem = OwnAtoms(H[support], H, 0.1 * scale, True)
    start = torch.zeros(support.shape, dtype=torch.float64)
    together = fista(problem, start, curvature=problem.curvature(), tolerance=1e-6, max_iter=3000)
    one = torch.arange(len(H)) == 17
    alone = problem.subset(one)
    single = fista(alone, start[one], curvature=alone.curvature(), tolerance=1e-6, max_iter=3000)
    torch.testing.assert_close(together.x[one], single.x, rtol=1e-10, atol=1e-12)
