"""FISTA: accelerated proximal gradient steps with backtracking and adaptive restart, on a batch of problems."""

from typing import Protocol

import torch
from torch import Tensor

from deepclust.solvers.composite import Composite, Result, WorkingSet

_GROWTH = 2.0  # factor on the curvature estimate where a step was too long
_ROUNDING = 1e-10  # share by which the divergence may exceed its bound: rounding, not a step too long


class Smooth(Composite, Protocol):
    def divergence(self, x: Tensor, y: Tensor) -> Tensor:
        """Return f(x) - f(y) - <gradient f(y), x - y>, (B,), in a form that does not cancel as x nears y."""


def fista(
    problem: Smooth,
    start: Tensor,
    *,
    curvature: Tensor,
    tolerance: float,
    max_iter: int,
    restart: bool = True,
    check_every: int = 10,
) -> Result:
    """Return approximate minimisers of a batch of composite problems by FISTA with backtracking.

    Each problem has its own steps, momentum and restarts. Without restart, and while no step had to be shortened,

        F(x_t) - F* <= 2 L ||x_0 - x*||^2 / (t + 1)^2    for every t, with L the curvature.

    Both sides are sums, as F is. A curvature found by doubling may be twice the smallest valid one.

    Parameters
    ----------
    problem : Smooth
    start : Tensor of shape (B, n)
    curvature : Tensor > 0 of shape (B, 1), or (B, n) for a diagonal metric
        First L in f(x) <= f(y) + <gradient f(y), x - y> + 1/2 sum of L (x - y)^2; doubled where the inequality fails.
    tolerance : float
        Largest relative duality gap; problems that reach it drop out of the batch.
    restart : bool
        Forget the momentum where it points uphill, (y - x_t)'(x_t - x_{t-1}) > 0.
    check_every : int
        Iterations between evaluations of the certificate; the start and the last iterate are checked as well.

    Notes
    -----
    Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009, Section 4 and Theorem 4.4; restart
    by O'Donoghue and Candes, "Adaptive restart for accelerated gradient schemes", 2015, Section 3.2.
    """
    work = WorkingSet(start, tolerance)
    x = y = start
    L = curvature
    t = torch.ones_like(start[:, :1])
    for iteration in range(max_iter + 1):
        if iteration % check_every == 0 or iteration == max_iter:
            keep = work.record(x, problem.certificate(x))
            work.end_check()
            if not len(work.rows) or iteration == max_iter:
                break
            if len(work.rows) < len(keep):
                problem = problem.subset(keep)
                x, y, L, t = x[keep], y[keep], L[keep], t[keep]

        previous, slope = x, problem.gradient(y)
        while True:
            x = problem.prox(y - slope / L, 1 / L)
            bound = 0.5 * (L * (x - y).square()).sum(dim=1)
            too_long = problem.divergence(x, y) > bound * (1 + _ROUNDING)
            if not too_long.any():
                break
            L = torch.where(too_long[:, None], L * _GROWTH, L)
        if restart:
            uphill = ((y - x) * (x - previous)).sum(dim=1, keepdim=True) > 0
            t = torch.where(uphill, 1.0, t)
        t_next = (1 + torch.sqrt(1 + 4 * t.square())) / 2
        y = x + (t - 1) / t_next * (x - previous)
        t = t_next
    return work.result(iteration)
