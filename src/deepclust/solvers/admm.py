"""ADMM in scaled form, over-relaxed, with residual balancing, on a batch of problems."""

from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from deepclust.solvers.composite import Composite, Result, WorkingSet

_LARGEST_CHANGE = 10.0  # factor by which one update may change a penalty
_SMALLEST_CHANGE = 2.0  # below this factor a new factorisation is not worth it


class Splitting(Composite, Protocol):
    def factor(self, penalty: Tensor) -> Tensor:
        """Return the tensor (B, ...) that `minimize` reuses for as long as the penalties (B, 1) stay the same."""

    def minimize(self, factor: Tensor, w: Tensor, penalty: Tensor) -> Tensor:
        """Return argmin over v of f(v) + penalty/2 ||v - w||^2, (B, n)."""

    def polish(self, z: Tensor) -> Tensor:
        """Return points (B, n) that may be better than z, such as minimisers on z's active set; z if there are none."""


def admm(
    problem: Splitting,
    start: Tensor,
    *,
    penalty: Tensor,
    tolerance: float,
    max_iter: int,
    relaxation: float = 1.6,
    check_every: int = 10,
) -> Result:
    """Return approximate minimisers of a batch of problems min f(v) + g(z) subject to v = z.

        v <- argmin f(v) + rho/2 ||v - z + u||^2
        z <- argmin g(z) + rho/2 ||z - r v - (1 - r) z - u||^2    (r: relaxation)
        u <- u + r v + (1 - r) z_before - z

    The point returned is z, on which g's zeros and bounds hold exactly. Each problem has its own penalty rho. Balancing
    changes rho where the relative residuals ||v - z|| and ||z - z_before|| differ by more than a factor of 4. Intervals
    between changes grow by half, because convergence is proved for penalties that settle. Every check also tries a
    point polished by the problem.

    Parameters
    ----------
    problem : Splitting
    start : Tensor of shape (B, n)
        First z. The multiplier u starts from a proximal gradient step at `start`; at a minimiser that u is final.
    penalty : Tensor > 0 of shape (B, 1)
        First rho, on the scale of f's curvature.
    tolerance : float
        Largest relative duality gap; problems that reach it drop out of the batch.
    relaxation : float in (0, 2)
    check_every : int
        Iterations between checks; the start and the last iterate are checked as well.

    Notes
    -----
    Boyd, Parikh, Chu, Peleato and Eckstein, "Distributed optimization and statistical learning via ADMM", 2011,
    Sections 3.1.1, 3.4.1 and 3.4.3; relative residuals after Wohlberg, "ADMM penalty parameter selection by residual
    balancing", 2017; polishing after Stellato et al., "OSQP", 2020, Section 5.2.
    """
    work = WorkingSet(start, tolerance)
    w = start - problem.gradient(start) / penalty
    u = w - problem.prox(w, 1 / penalty)
    # A start at 0 has no active set to polish on.
    state = _State(start, start, start, u, penalty, start[:, :0])
    problem, state = _check(work, problem, state, polish=bool(start.any()))
    state = state._replace(factor=problem.factor(state.rho))
    iteration, next_balance = 0, check_every
    while len(work.rows) and iteration < max_iter:
        iteration += 1
        z, _, _, u, rho, factor = state
        v = problem.minimize(factor, z - u, rho)
        relaxed = relaxation * v + (1 - relaxation) * z
        new = problem.prox(relaxed + u, 1 / rho)
        state = _State(new, z, v, u + relaxed - new, rho, factor)
        if iteration % check_every == 0 or iteration == max_iter:
            problem, state = _check(work, problem, state)
        if iteration >= next_balance:
            state = _balance(problem, state)
            next_balance = iteration + max(check_every, iteration // 2)
    return work.result(iteration)


class _State(NamedTuple):
    z: Tensor
    before: Tensor  # z one iteration earlier
    v: Tensor
    u: Tensor
    rho: Tensor
    factor: Tensor


P = TypeVar("P", bound=Splitting)


def _check(work: WorkingSet, problem: P, state: _State, *, polish: bool = True) -> tuple[P, _State]:
    """Record z, then the polished z of the problems still open; return the open problems and their state."""
    for polished in (False, True)[: 1 + polish]:
        candidate = problem.polish(state.z) if polished else state.z
        keep = work.record(candidate, problem.certificate(candidate))
        if not keep.all():
            problem, state = problem.subset(keep), _State(*(tensor[keep] for tensor in state))
        if not len(work.rows):
            break
    work.end_check()
    return problem, state


def _balance(problem: Splitting, state: _State) -> _State:
    """Return the state with rho and u rescaled where the relative residuals differ by more than a factor of 4."""
    z, before, v, u, rho, factor = state
    tiny = torch.finfo(z.dtype).tiny
    size_v, size_z = v.norm(dim=1, keepdim=True), z.norm(dim=1, keepdim=True)
    primal = (v - z).norm(dim=1, keepdim=True) / torch.maximum(size_v, size_z).clamp_min(tiny)
    dual = (z - before).norm(dim=1, keepdim=True) / u.norm(dim=1, keepdim=True).clamp_min(tiny)
    change = (primal / dual.clamp_min(tiny)).sqrt().clamp(1 / _LARGEST_CHANGE, _LARGEST_CHANGE)
    small = (change < _SMALLEST_CHANGE) & (change > 1 / _SMALLEST_CHANGE)
    change = torch.where(small, 1.0, change)
    changed = (change != 1).squeeze(1)
    if changed.any():
        rho = rho * change
        factor = factor.clone()
        factor[changed] = problem.subset(changed).factor(rho[changed])
    return state._replace(u=u / change, rho=rho, factor=factor)
