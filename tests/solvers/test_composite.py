"""The points that a working set keeps of those it is shown."""

import math

import pytest
import torch
from torch import Tensor

from deepclust.solvers.composite import WorkingSet, relative_gap, warn_unconverged


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_best_point_and_the_best_bound_are_kept_apart() -> None:
    work = WorkingSet(column(0, 0), tolerance=1e-3)
    assert work.record(column(1, 2), (numbers(10, 10), numbers(1, 8))).all()
    assert work.record(column(3, 4), (numbers(20, 9), numbers(5, 2))).all()
    assert work.record(column(5, 6), (numbers(30, 30), numbers(-1e20, -math.inf))).all()
    result = work.result(3)
    assert torch.equal(result.x, column(1, 4))
    assert torch.equal(result.objective, numbers(10, 9))
    assert torch.equal(result.bound, numbers(5, 8))
    assert torch.equal(result.residual, numbers(0.5, 1 / 9))
    assert not result.converged


def test_who_converges_leaves_and_keeps_its_place() -> None:
    work = WorkingSet(column(0, 0, 0), tolerance=0.1)
    assert work.record(column(1, 2, 3), (numbers(1, 1, 1), numbers(0, 0.95, 0))).tolist() == [True, False, True]
    assert work.record(column(4, 5), (numbers(0.5, 0.5), numbers(0, 0.49))).tolist() == [True, False]
    assert work.record(column(6), (numbers(0.1), numbers(0.1))).tolist() == [False]
    result = work.result(2)
    assert torch.equal(result.x, column(6, 2, 5))
    assert result.converged


def test_points_that_are_no_numbers_are_ignored() -> None:
    work = WorkingSet(column(7), tolerance=0.1)
    assert work.record(column(math.nan), (numbers(math.nan), numbers(math.nan))).all()
    assert work.record(column(1), (numbers(2), numbers(1))).all()
    assert work.record(column(math.nan), (numbers(math.nan), numbers(math.nan))).all()
    assert work.result(1).x.item() == 1
    assert work.result(1).residual.item() == 0.5


def test_relative_gap_of_a_zero_objective() -> None:
    gap = relative_gap(numbers(0, 0, 2, 2), numbers(0, -1, 1, 3))
    assert gap.tolist() == [0, math.inf, 0.5, 0]


def test_only_what_is_above_the_tolerance_is_warned_of() -> None:
    warn_unconverged("solver", numbers(1e-5, 1e-4), 1e-4, 9)  # a warning would be an error
    with pytest.warns(UserWarning, match="after 9 iterations with 2 of 3 gaps above the tolerance 0.0001"):
        warn_unconverged("solver", numbers(1e-5, 1e-3, math.nan), 1e-4, 9)
