"""Convex clustering against CVXPY, closed forms and its own certificate."""

import importlib
from typing import Any, get_args

import numpy as np
import pytest

from deepclust.errors import UserError
from deepclust.solvers.convex_clustering import ConvexClustering, Solver, convex_clustering, prox_group_l2

cp: Any = importlib.import_module("cvxpy")  # its types do not name what it exports

N, D = 24, 3
both = pytest.mark.parametrize("solver", get_args(Solver))


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return samples in three groups, the pairs of a ring and of 20 chords, and weights of two orders of magnitude."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D)) + 4 * np.eye(3, D)[np.arange(N) // (N // 3)]
    chords = {(int(i), int(j)) for i, j in np.sort(rng.integers(N, size=(20, 2))) if j > i + 1}
    pairs = np.array(sorted(chords | {(i, i + 1) for i in range(N - 1)}))
    return X, pairs, 10 ** rng.uniform(-1.5, 0.5, len(pairs))


def complete(n: int) -> np.ndarray:
    return np.column_stack(np.triu_indices(n, 1))


def value(U: np.ndarray, X: np.ndarray, pairs: np.ndarray, weights: np.ndarray, gamma: float) -> float:
    apart = sum(w * np.linalg.norm(U[i] - U[j]) for (i, j), w in zip(pairs, weights, strict=True))
    return float(0.5 * np.square(X - U).sum() + gamma * apart)


def by_cvxpy(X: np.ndarray, pairs: np.ndarray, weights: np.ndarray, gamma: float) -> tuple[np.ndarray, float]:
    U = cp.Variable(X.shape)
    apart = cp.norm(U[pairs[:, 0]] - U[pairs[:, 1]], 2, axis=1)
    least = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(X - U) + gamma * (weights @ apart))).solve(solver="CLARABEL")
    return U.value, least


# ------------------------------------------------------------------------------------------------------------ prox


def test_prox_of_the_group_norm_is_the_argmin_and_what_it_takes_off_a_projection() -> None:
    x = np.array([[0.3, -0.4], [1.2, 0.9], [0.0, 0.0], [-0.6, 0.1]])
    steps = np.array([0.6, 0.4, 1.0, 0.3])
    side = np.linspace(-1.5, 1.5, 601)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    found = prox_group_l2(x, steps)
    for row, step, z in zip(x, steps, found, strict=True):
        values = step * np.linalg.norm(grid, axis=1) + 0.5 * np.square(grid - row).sum(axis=1)
        np.testing.assert_allclose(z, grid[values.argmin()], atol=0.006)
    np.testing.assert_array_equal(found[[0, 2]], 0)
    # Moreau: the rest is the projection onto the ball of the dual norm
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(x - found, x * np.minimum(1, steps[:, None] / np.maximum(norms, 1e-300)), atol=1e-15)
    np.testing.assert_allclose(prox_group_l2(x, 0.4)[1], found[1], atol=1e-15)


# ----------------------------------------------------------------------------------------------------- the minimiser


@both
@pytest.mark.parametrize("gamma", [0.02, 0.3, 2.0])
def test_both_solvers_reach_cvxpys_minimum_within_their_gap(solver: Solver, gamma: float) -> None:
    X, pairs, weights = problem()
    U, least = by_cvxpy(X, pairs, weights, gamma)
    rough = convex_clustering(X, pairs, weights, gamma, solver=solver, tolerance=1e-2)
    fine = convex_clustering(X, pairs, weights, gamma, solver=solver, tolerance=1e-12)
    for found in (rough, fine):
        assert found.converged
        assert found.objective == pytest.approx(value(found.U, X, pairs, weights, gamma), rel=1e-12)
        assert found.objective * (1 - found.gap) <= least * (1 + 1e-9)
        assert found.objective >= least * (1 - 1e-7)
        assert (np.linalg.norm(found.dual, axis=1) <= gamma * weights * (1 + 1e-12)).all()
    np.testing.assert_allclose(fine.U, U, atol=1e-4)


@pytest.mark.parametrize("seed", [1, 2])
def test_ama_and_admm_agree_on_the_point_and_its_clusters(seed: int) -> None:
    X, pairs, weights = problem(seed)
    ama, admm = (convex_clustering(X, pairs, weights, 0.5, solver=s, tolerance=1e-13) for s in get_args(Solver))
    np.testing.assert_allclose(ama.U, admm.U, atol=1e-6)
    np.testing.assert_array_equal(ama.components, admm.components)
    assert 1 < ama.components.max() + 1 < N


@both
def test_rows_are_equal_within_components_and_components_keep_their_sums(solver: Solver) -> None:
    X, pairs, weights = problem()
    pairs, weights = pairs[keep := ~((pairs < 8) ^ (pairs < 8)[:, ::-1]).any(axis=1)], weights[keep]  # two parts
    found = convex_clustering(X, pairs, weights, 0.4, solver=solver)
    for c in range(found.components.max() + 1):
        assert len(np.unique(found.U[found.components == c], axis=0)) == 1
    np.testing.assert_allclose(found.U[:8].sum(axis=0), X[:8].sum(axis=0), rtol=1e-12)
    far = convex_clustering(X, pairs, weights, 1e4, solver=solver, tolerance=1e-12)
    assert far.components.tolist() == [0] * 8 + [1] * 16
    np.testing.assert_allclose(far.U, np.repeat([X[:8].mean(axis=0), X[8:].mean(axis=0)], [8, 16], axis=0), atol=1e-8)


@both
def test_at_gamma_0_the_point_is_x(solver: Solver) -> None:
    X, pairs, weights = problem()
    X[1] = X[0]
    found = convex_clustering(X, pairs, weights, 0.0, solver=solver)
    np.testing.assert_allclose(found.U, X, atol=1e-14)
    if solver == "ama":  # which starts at X, where duplicates are together
        assert found.components.tolist() == [0, *range(N - 1)]
    assert (found.n_iter, found.converged, found.gap) == (1, True, 0.0)


@both
@pytest.mark.parametrize("gamma", [0.1, 0.9, 1.24, 1.26, 7.0])
def test_two_samples_move_by_gamma_w_until_they_meet(solver: Solver, gamma: float) -> None:
    X, w = np.array([[0.0, 0.0], [3.0, 4.0]]), 2.0  # 5 apart: they meet at gamma w = 2.5
    found = convex_clustering(X, np.array([[0, 1]]), np.array([w]), gamma, solver=solver, tolerance=1e-13)
    moved = min(gamma * w, 2.5) * np.array([0.6, 0.8])
    np.testing.assert_allclose(found.U, [moved, X[1] - moved], atol=1e-6)
    assert found.components.tolist() == ([0, 0] if gamma * w > 2.5 else [0, 1])


def test_on_a_line_with_equal_weights_order_is_kept_and_clusters_never_split() -> None:
    X = np.sort(np.random.default_rng(3).normal(size=12))[:, None]
    pairs = complete(12)
    together = np.zeros((12, 12), dtype=bool)
    counts, start = [], None
    for gamma in np.geomspace(0.003, 0.6, 25):
        found = convex_clustering(X, pairs, np.ones(len(pairs)), gamma, start=start, tolerance=1e-12)
        assert (np.diff(found.U[:, 0]) >= 0).all()
        now = found.components[:, None] == found.components
        assert now[together].all()
        together, start = now, found.dual
        counts.append(found.components.max() + 1)
    assert counts[0] > 9
    assert counts[-1] == 1
    assert len(set(counts)) > 4


def test_rotation_and_translation_move_the_minimiser_along() -> None:
    X, pairs, weights = problem()
    rotation, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(D, D)))
    here = convex_clustering(X, pairs, weights, 0.5, tolerance=1e-10)
    there = convex_clustering(X @ rotation + 1e3, pairs, weights, 0.5, tolerance=1e-10)
    np.testing.assert_allclose(there.U, here.U @ rotation + 1e3, atol=1e-4)
    np.testing.assert_array_equal(there.components, here.components)


def test_a_start_from_a_gamma_nearby_saves_iterations_and_a_limit_is_told() -> None:
    X, pairs, weights = problem()

    def solve(gamma: float, **given: Any) -> ConvexClustering:
        return convex_clustering(X, pairs, weights, gamma, tolerance=1e-8, **given)

    near, cold = solve(0.5), solve(0.52)
    warm = solve(0.52, start=near.dual * 1.04)
    assert warm.n_iter < cold.n_iter
    assert warm.objective == pytest.approx(cold.objective, rel=1e-7)
    stopped = solve(0.52, max_iter=12)
    assert (stopped.n_iter, stopped.converged) == (12, False)
    assert stopped.gap > 1e-8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X": np.full((3, 2), np.nan)}, "X must be finite and of shape"),
        ({"pairs": np.array([[0, 3]])}, r"two different sample numbers in \[0, N-1=2\]"),
        ({"pairs": np.array([[1, 1]])}, "two different sample numbers"),
        ({"weights": np.array([0.0])}, "weights must be finite and > 0, one for each of the 1 pairs"),
        ({"gamma": -1.0}, "gamma must be finite and at least 0, got -1.0"),
        ({"start": np.zeros((2, 2))}, r"start must have shape \(E, D\) = \(1, 2\), got \(2, 2\)"),
        ({"solver": "newton"}, "solver must be one of ama, admm, got 'newton'"),
        ({"penalty": 0.0}, "penalty must be finite and above 0"),
        ({"max_iter": 0}, "max_iter must be finite and above 0"),
    ],
)
def test_arguments_out_of_their_range_are_named(given: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"X": np.eye(3, 2), "pairs": np.array([[0, 1]]), "weights": np.ones(1), "gamma": 1.0}
    with pytest.raises(UserError, match=message):
        convex_clustering(**good | given)
