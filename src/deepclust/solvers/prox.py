"""Proximal operators: pure functions of a point x and a step > 0, each naming the argmin it returns."""

from torch import Tensor


def prox_l1(x: Tensor, step: Tensor | float) -> Tensor:
    """Return argmin over z of step ||z||_1 + 1/2 ||z - x||^2: every entry moved towards 0 by `step`, at most to 0.

    `step` broadcasts against x, so that each problem of a batch may have its own.
    """
    return x.sign() * (x.abs() - step).clamp_min(0)


def prox_nonnegative_l1(x: Tensor, step: Tensor | float) -> Tensor:
    """Return argmin over z >= 0 of step ||z||_1 + 1/2 ||z - x||^2 = max(x - step, 0), entry by entry."""
    return (x - step).clamp_min(0)
