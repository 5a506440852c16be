"""ADMM: agreement with FISTA without its polish, penalties that are far off, warm starts."""

import pytest
import torch
from torch import Tensor

from deepclust.solvers.admm import _balance, _State, admm
from deepclust.solvers.composite import Result
from deepclust.solvers.fista import fista
from deepclust.solvers.lasso import OwnAtoms


class Unpolished(OwnAtoms):
    def polish(self, z: Tensor) -> Tensor:
        return z


def solve(
    problem: OwnAtoms, start: Tensor, factor: float = 0.05, tolerance: float = 1e-7, max_iter: int = 3000
) -> Result:
    return admm(problem, start, penalty=factor * problem.curvature(), tolerance=tolerance, max_iter=max_iter)


@pytest.fixture
def start(support: Tensor) -> Tensor:
    return torch.zeros(support.shape, dtype=torch.float64)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relative", [0.03, 1.0])
@pytest.mark.parametrize("kind", [OwnAtoms, Unpolished])
def test_admm_matches_fista(
    H: Tensor, support: Tensor, scale: float, start: Tensor, kind: type[OwnAtoms], relative: float, nonnegative: bool
) -> None:
    problem = kind(H[support], H, relative * scale, nonnegative)
    found = solve(problem, start)
    other = fista(problem, start, curvature=problem.curvature(), tolerance=1e-7, max_iter=30_000)
    assert found.converged
    assert other.converged
    torch.testing.assert_close(found.objective, other.objective, rtol=2e-7, atol=0)


@pytest.mark.parametrize("factor", [1e-5, 1e2])
def test_penalties_far_off_are_balanced(
    H: Tensor, support: Tensor, scale: float, start: Tensor, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Unpolished(H[support], H, 0.1 * scale, True)
    assert solve(problem, start, factor, 1e-4, 600).converged
    monkeypatch.setattr("deepclust.solvers.admm._balance", lambda problem, state: state)
    assert not solve(problem, start, factor, 1e-4, 600).converged


def test_the_solution_is_a_fixed_point(H: Tensor, support: Tensor, scale: float, start: Tensor) -> None:
    problem = Unpolished(H[support], H, 0.1 * scale, True)
    solution = solve(problem, start, tolerance=1e-13).x
    again = solve(problem, solution, tolerance=0.0, max_iter=10)
    torch.testing.assert_close(again.x, solution, rtol=0, atol=1e-6)


def test_no_check_loses_ground(H: Tensor, support: Tensor, scale: float, start: Tensor) -> None:
    problem = Unpolished(H[support], H, 0.01 * scale, True)
    found = solve(problem, start, tolerance=1e-6)
    assert list(found.history) == sorted(found.history, reverse=True)
    assert (found.objective <= problem.certificate(start)[0]).all()
    torch.testing.assert_close(found.objective, problem.certificate(found.x)[0], rtol=1e-12, atol=0)


def test_balancing_keeps_the_multiplier(H: Tensor, support: Tensor, scale: float) -> None:
    problem = OwnAtoms(H[support], H, scale, True)
    generator = torch.Generator().manual_seed(0)
    z, before, v, u = (torch.randn(support.shape, generator=generator, dtype=torch.float64) for _ in range(4))
    v[:30] = z[:30] + 1e-3 * v[:30]
    before[30:60] = z[30:60] + 1e-3 * before[30:60]
    rho = problem.curvature()
    state = _balance(problem, _State(z, before, v, u, rho, problem.factor(rho)))
    change = (state.rho / rho)[:, 0]
    assert ((change < 0.5)[:30]).all()  # v = z but for little: the penalty may fall
    assert ((change > 2)[30:60]).all()  # z hardly moves: it must rise
    assert ((change == 1)[60:]).any()
    torch.testing.assert_close(state.rho * state.u, rho * u)
    torch.testing.assert_close(state.factor, problem.factor(state.rho))
