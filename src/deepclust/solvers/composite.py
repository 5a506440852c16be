"""The interface of FISTA and ADMM: a batch of composite problems goes in, a `Result` comes out."""

import warnings
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor


class Composite(Protocol):
    """B independent problems, each min over x of f(x) + g(x): f convex and smooth, g convex with a closed-form prox.

    Points are the rows of tensors of shape (B, n). A problem whose variables are all coupled is a batch of one.
    """

    def gradient(self, x: Tensor) -> Tensor:
        """Return the gradients of f, (B, n)."""

    def prox(self, x: Tensor, step: Tensor) -> Tensor:
        """Return argmin over z of step g(z) + 1/2 ||z - x||^2, (B, n); step is positive, (B, 1) or (B, n)."""

    def certificate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return F(x) = f(x) + g(x) and a lower bound of min F, both (B,); the bound is usually a dual objective."""

    def subset(self, rows: Tensor) -> Self:
        """Return the problems that a boolean mask (B,) selects."""


@dataclass(frozen=True)
class Result:
    """The point at which a solver stopped, and how far from the minimum it can be."""

    x: Tensor  # (B, n), each problem's best point among those checked, the start included
    objective: Tensor  # (B,) F(x)
    bound: Tensor  # (B,) the best lower bound found of min F
    residual: Tensor  # (B,) the duality gap relative to the objective
    n_iter: int  # iterations of the slowest problem
    converged: bool  # every residual is at most the tolerance
    history: tuple[float, ...]  # largest residual after each check, the start's first


def relative_gap(objective: Tensor, bound: Tensor) -> Tensor:
    """Return (objective - bound) / |objective|, at least 0; 0 where both are 0."""
    gap = (objective - bound).clamp_min(0)
    return torch.where(gap > 0, gap / objective.abs(), gap)


class WorkingSet:
    """The problems still open, and the best point and bound of every problem: a converged one costs no iteration."""

    def __init__(self, start: Tensor, tolerance: float) -> None:
        self._x = start.clone()
        self._objective = torch.full_like(start[:, 0], torch.inf)
        self._bound = torch.full_like(start[:, 0], -torch.inf)
        self._tolerance = tolerance
        self._history: list[float] = []
        self.rows = torch.arange(len(start), device=start.device)

    def record(self, x: Tensor, certificate: tuple[Tensor, Tensor]) -> Tensor:
        """Record points x of the open problems; return a mask of x's rows: the problems that stay open."""
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
    """Warn if any residual is above the tolerance; the warning points at the line that called the solver."""
    above = int((~(residual <= tolerance)).sum())
    if above:
        warnings.warn(
            f"{what} stopped after {n_iter} iterations with {above} of {len(residual)} gaps above the tolerance "
            f"{tolerance:g}, the worst at {residual.max().item():.3g}; raise max_iter or the tolerance",
            stacklevel=3,
        )
