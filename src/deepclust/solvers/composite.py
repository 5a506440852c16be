"""What FISTA and ADMM are given, a batch of composite problems, and what they return."""

import warnings
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor


class Composite(Protocol):
    """B independent problems, each min over x of f(x) + g(x): f convex and smooth, g convex with a closed prox.

    Points are the rows of tensors of shape (B, n). A problem whose variables all hang together is a batch of one.
    """

    def gradient(self, x: Tensor) -> Tensor:
        """Return the gradients of f, (B, n)."""

    def prox(self, x: Tensor, step: Tensor) -> Tensor:
        """Return argmin over z of step g(z) + 1/2 ||z - x||^2, (B, n); step is positive, (B, 1) or (B, n)."""

    def certificate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return F = f + g at x and a lower bound of its minimum, usually the dual objective at a point x suggests."""

    def subset(self, rows: Tensor) -> Self:
        """Return the problems that a boolean mask (B,) selects."""


@dataclass(frozen=True)
class Result:
    """Where a solver stopped."""

    x: Tensor  # (B, n), for each problem the best of the points checked, the start among them
    objective: Tensor  # (B,) F(x)
    bound: Tensor  # (B,) the best lower bound found of min F
    residual: Tensor  # (B,) the duality gap relative to the objective
    n_iter: int  # of the slowest problem
    converged: bool  # every residual is at most the tolerance
    history: tuple[float, ...]  # largest residual after each check, the start's first


def relative_gap(objective: Tensor, bound: Tensor) -> Tensor:
    """Return (objective - bound) / |objective|, at least 0; 0 where both are 0."""
    gap = (objective - bound).clamp_min(0)
    return torch.where(gap > 0, gap / objective.abs(), gap)


class WorkingSet:
    """The problems still open, and the best point and bound of each: who has converged costs no further iteration."""

    def __init__(self, start: Tensor, tolerance: float) -> None:
        self._x = start.clone()
        self._objective = torch.full_like(start[:, 0], torch.inf)
        self._bound = torch.full_like(start[:, 0], -torch.inf)
        self._tolerance = tolerance
        self._history: list[float] = []
        self.rows = torch.arange(len(start), device=start.device)

    def record(self, x: Tensor, certificate: tuple[Tensor, Tensor]) -> Tensor:
        """Take in points of the open problems; return which of these stay open, a mask of x's rows."""
        objective, bound = certificate
        better = objective < self._objective[self.rows]
        improved = self.rows[better]
        self._x[improved] = x[better]
        self._objective[improved] = objective[better]
        self._bound[self.rows] = torch.fmax(self._bound[self.rows], bound)
        closed = relative_gap(self._objective[self.rows], self._bound[self.rows]) <= self._tolerance
        self.rows = self.rows[~closed]
        return ~closed

    def end_check(self) -> None:
        self._history.append(relative_gap(self._objective, self._bound).max().item())

    def result(self, n_iter: int) -> Result:
        residual = relative_gap(self._objective, self._bound)
        history = tuple(self._history)
        return Result(self._x, self._objective, self._bound, residual, n_iter, not len(self.rows), history)


def warn_unconverged(what: str, residual: Tensor, tolerance: float, n_iter: int) -> None:
    """Warn with the numbers, in the name of the caller's caller, if any residual is above the tolerance."""
    above = int((~(residual <= tolerance)).sum())
    if above:
        warnings.warn(
            f"{what} stopped after {n_iter} iterations with {above} of {len(residual)} gaps above the tolerance "
            f"{tolerance:g}, the worst at {residual.max().item():.3g}; raise max_iter or the tolerance",
            stacklevel=3,
        )
