"""Proximal operators against the minimisation they solve, on a fine grid, and at their limits."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepclust.solvers.prox import prox_l1, prox_nonnegative_l1

GRID = torch.linspace(-4, 4, 8001, dtype=torch.float64)
POINTS = torch.tensor([-3.0, -1.0, -0.2, 0.0, 0.3, 1.0, 2.5], dtype=torch.float64)


@pytest.mark.parametrize("step", [0.1, 1.0, 2.0])
@pytest.mark.parametrize(("prox", "feasible"), [(prox_l1, GRID), (prox_nonnegative_l1, GRID[GRID >= 0])])
def test_prox_is_the_argmin(prox: Callable[..., Tensor], feasible: Tensor, step: float) -> None:
    values = step * feasible.abs() + 0.5 * (feasible - POINTS[:, None]).square()
    torch.testing.assert_close(prox(POINTS, step), feasible[values.argmin(dim=1)], atol=1e-3, rtol=0)


@pytest.mark.parametrize("prox", [prox_l1, prox_nonnegative_l1])
def test_each_row_may_have_its_own_step(prox: Callable[..., Tensor]) -> None:
    x, steps = POINTS.expand(3, -1), torch.tensor([[0.1], [1.0], [5.0]], dtype=torch.float64)
    expected = torch.stack([prox(POINTS, step) for step in (0.1, 1.0, 5.0)])
    assert torch.equal(prox(x, steps), expected)


def test_small_entries_become_exactly_zero() -> None:
    x = torch.tensor([0.1, -0.1, 0.7, -0.7])
    assert torch.equal(prox_l1(x, 0.7), torch.zeros(4))
    assert torch.equal(prox_nonnegative_l1(x, 0.7), torch.zeros(4))
