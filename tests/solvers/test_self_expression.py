"""Self-expression against general-purpose solvers, its certificate, and the cases known in closed form."""

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.linear_model import Lasso
from torch import Tensor

from deepclust.errors import UserError
from deepclust.graph.laplacian import laplacian
from deepclust.solvers.self_expression import (
    SelfExpression,
    dense_self_expression,
    smoothed_self_expression,
    sparse_self_expression,
)

cp: Any = importlib.import_module("cvxpy")  # its types do not name what it exports
SOLVERS = ["admm", "fista", "subgradient"]
quietly = functools.partial(warnings.catch_warnings, action="ignore")


def minimum(objective: Any) -> float:
    """Return the minimum that CLARABEL, an interior-point solver, finds."""
    accurate = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
    return float(cp.Problem(cp.Minimize(objective)).solve(solver=cp.CLARABEL, **accurate))


def row_minimum(atoms: Tensor, h: Tensor, alpha: float, nonnegative: bool) -> float:
    z = cp.Variable(len(atoms), nonneg=nonnegative)
    return minimum(cp.sum_squares(h.numpy() - atoms.numpy().T @ z) + alpha * cp.norm1(z))


def objective(H: Tensor, Z: Tensor, alpha: float) -> Tensor:
    """Return ||h_i - sum_j z_ij h_j||^2 + alpha ||z_i||_1 for Z (N, N)."""
    return (H - Z @ H).square().sum(dim=1) + alpha * Z.abs().sum(dim=1)


def square(found: SelfExpression, support: Tensor) -> Tensor:
    """Return Z (N, N)."""
    Z = found.coefficients.new_zeros(len(support), len(support))
    return Z.scatter_add(1, support, found.coefficients)


@pytest.fixture(scope="module")
def smoothness(support: Tensor) -> sp.csr_matrix:
    N, k = support.shape
    A = sp.csr_matrix((np.ones(N * k), support.numpy().ravel(), np.arange(0, N * k + 1, k)), shape=(N, N))
    return laplacian(sp.csr_matrix(A.maximum(A.T)))


# Against other solvers


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relative", [1e-3, 1e-2, 0.1, 1.0])
def test_sparse_matches_cvxpy(H: Tensor, support: Tensor, scale: float, relative: float, nonnegative: bool) -> None:
    alpha = relative * scale
    found = sparse_self_expression(H, support, alpha, nonnegative=nonnegative, tolerance=1e-8, max_iter=3000)
    for i in range(0, len(H), 6):
        reference = row_minimum(H[support[i]], H[i], alpha, nonnegative)
        assert found.objective[i].item() == pytest.approx(reference, rel=1e-6)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relative", [0.1, 1.0])
def test_dense_matches_cvxpy(H: Tensor, scale: float, relative: float, nonnegative: bool) -> None:
    alpha = relative * scale
    found = dense_self_expression(H, alpha, nonnegative=nonnegative, tolerance=1e-8, max_iter=3000)
    for i in range(0, len(H), 15):
        others = torch.arange(len(H)) != i
        reference = row_minimum(H[others], H[i], alpha, nonnegative)
        assert found.objective[i].item() == pytest.approx(reference, rel=1e-6)
        assert found.coefficients[i, i] == 0


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relative", [0.1, 1.0])
def test_sparse_matches_coordinate_descent(
    H: Tensor, support: Tensor, scale: float, relative: float, nonnegative: bool
) -> None:
    alpha = relative * scale
    found = sparse_self_expression(H, support, alpha, nonnegative=nonnegative, tolerance=1e-8, max_iter=3000)
    settings: dict[str, Any] = {"fit_intercept": False, "positive": nonnegative, "tol": 1e-12, "max_iter": 100_000}
    for i in range(0, len(H), 6):
        peer = Lasso(alpha / (2 * H.shape[1]), **settings).fit(H[support[i]].numpy().T, H[i].numpy())
        Z = torch.from_numpy(peer.coef_)
        reference = (H[i] - Z @ H[support[i]]).square().sum() + alpha * Z.abs().sum()
        torch.testing.assert_close(found.objective[i], reference, rtol=1e-6, atol=0)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relative", [0.01, 0.3])
@pytest.mark.parametrize("lambda2", [0.1, 1.0])
def test_smoothed_matches_cvxpy(
    H: Tensor,
    support: Tensor,
    scale: float,
    smoothness: sp.csr_matrix,
    lambda2: float,
    relative: float,
    nonnegative: bool,
) -> None:
    alpha, weight = relative * scale, lambda2 * scale
    found = smoothed_self_expression(
        H, support, alpha, smoothness, weight, nonnegative=nonnegative, tolerance=1e-7, max_iter=20_000
    )
    assert found.converged
    N, k = support.shape
    z = cp.Variable(N * k, nonneg=nonnegative)
    rows, entries = np.repeat(np.arange(N), k), np.arange(N * k)
    placed = sp.csr_matrix((np.ones(N * k), (rows * N + support.numpy().ravel(), entries)), shape=(N * N, N * k))
    Z = cp.reshape(placed @ z, (N, N), order="C")
    reference = minimum(
        cp.sum_squares(H.numpy() - Z @ H.numpy()) + alpha * cp.norm1(z) + weight * cp.sum_squares(smoothness @ Z)
    )
    assert found.objective.sum().item() == pytest.approx(reference, rel=1e-6)


# The certificate


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relative", [1e-3, 1e-2, 0.1, 1.0])
def test_admm_certifies_every_row(H: Tensor, support: Tensor, scale: float, relative: float, nonnegative: bool) -> None:
    alpha = relative * scale
    found = sparse_self_expression(H, support, alpha, nonnegative=nonnegative)
    assert found.converged
    assert found.gap.max() <= 1e-4
    torch.testing.assert_close(found.objective, objective(H, square(found, support), alpha), rtol=1e-12, atol=0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("max_iter", [1, 30])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_the_gap_bounds_what_is_missing(
    H: Tensor, support: Tensor, scale: float, solver: Any, max_iter: int, nonnegative: bool
) -> None:
    with quietly():
        found = sparse_self_expression(
            H, support, 0.05 * scale, nonnegative=nonnegative, solver=solver, max_iter=max_iter
        )
    for i in range(0, len(H), 9):
        reference = row_minimum(H[support[i]], H[i], 0.05 * scale, nonnegative)
        missing = found.objective[i].item() - reference
        assert -1e-9 * reference <= missing <= found.gap[i] * found.objective[i] + 1e-9 * reference


def test_singular_systems_are_no_obstacle(H: Tensor, scale: float) -> None:
    # Far more candidates than features: the polish meets singular Gram matrices.
    for relative in (1e-4, 1e-2):
        found = dense_self_expression(H, relative * scale)
        for i in range(0, len(H), 15):
            reference = row_minimum(H[torch.arange(len(H)) != i], H[i], relative * scale, False)
            assert found.objective[i].item() == pytest.approx(reference, rel=1e-5)


def test_reaching_the_limit_warns_with_the_numbers(H: Tensor, support: Tensor, scale: float) -> None:
    with pytest.warns(UserWarning, match=r"stopped after 2 iterations with \d+ of 90 gaps above .* 1e-06, the worst"):
        found = sparse_self_expression(H, support, 0.01 * scale, solver="fista", tolerance=1e-6, max_iter=2)
    assert not found.converged
    assert found.n_iter == 2


def test_fifty_iterations_of_fista_fall_short(H: Tensor, scale: float) -> None:
    """The hybrid paper's Z-update: dense and signed, alpha = 0.01, at most 50 iterations of FISTA."""
    few, alpha = H[:40], 0.01 * scale
    with quietly():
        paper = dense_self_expression(few, alpha, solver="fista", max_iter=50)
    exact = dense_self_expression(few, alpha)
    assert exact.converged
    assert paper.objective.sum() > 1.05 * exact.objective.sum()
    nonzeros = [(found.coefficients != 0).sum(dim=1).double().mean() for found in (paper, exact)]
    assert nonzeros[0] > 2 * nonzeros[1]


# Closed forms and symmetries


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("solver", ["admm", "fista"])
def test_zero_from_the_threshold_on(H: Tensor, support: Tensor, nonnegative: bool, solver: Any) -> None:
    i = 7
    products = 2 * H[support[i]] @ H[i]
    threshold = (products if nonnegative else products.abs()).max().item()
    at, below = (
        sparse_self_expression(H, support, share * threshold, nonnegative=nonnegative, solver=solver, max_iter=5000)
        for share in (1.0, 0.98)
    )
    assert (at.coefficients[i] == 0).all()
    assert at.gap[i] <= 1e-15
    assert at.objective[i] == pytest.approx(H[i].square().sum().item())
    assert (below.coefficients[i] != 0).any()


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_a_free_diagonal_gives_the_trivial_solution(H: Tensor, alpha: float) -> None:
    unit = H / H.norm(dim=1, keepdim=True)
    found = dense_self_expression(unit, alpha, zero_diagonal=False, tolerance=1e-10, max_iter=3000)
    expected = (1 - alpha / 2) * torch.eye(len(H), dtype=torch.float64)
    torch.testing.assert_close(found.coefficients, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.objective, torch.full_like(found.objective, alpha - alpha**2 / 4))


def test_permuting_the_samples_permutes_the_solution(H: Tensor, support: Tensor, scale: float) -> None:
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(H)))
    place = torch.empty_like(order)
    place[order] = torch.arange(len(H))
    found = sparse_self_expression(H, support, 0.1 * scale, tolerance=1e-9)
    moved = sparse_self_expression(H[order], place[support[order]], 0.1 * scale, tolerance=1e-9)
    torch.testing.assert_close(moved.coefficients, found.coefficients[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scale_does_not_matter(H: Tensor, support: Tensor, scale: float, factor: float, dtype: torch.dtype) -> None:
    found = sparse_self_expression(H.to(dtype), support, 0.1 * scale)
    scaled = sparse_self_expression(factor * H.to(dtype), support, 0.1 * scale * factor**2)
    assert scaled.converged
    torch.testing.assert_close(scaled.coefficients, found.coefficients, rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled.objective, factor**2 * found.objective, rtol=1e-5, atol=0)


def test_sparse_with_all_candidates_is_dense(H: Tensor, scale: float) -> None:
    N = len(H)
    others = torch.tensor([[j for j in range(N) if j != i] for i in range(N)])
    sparse = sparse_self_expression(H, others, scale, nonnegative=False, tolerance=1e-8, max_iter=3000)
    dense = dense_self_expression(H, scale, tolerance=1e-8, max_iter=3000)
    torch.testing.assert_close(sparse.objective, dense.objective, rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", ["sparse", "dense"])
def test_blocks_do_not_matter(H: Tensor, support: Tensor, scale: float, name: str) -> None:
    if name == "sparse":
        whole, parts = (sparse_self_expression(H, support, 0.1 * scale, chunk=size) for size in (1000, 7))
    else:
        whole, parts = (dense_self_expression(H, scale, rows_per_block=size) for size in (1000, 7))
    torch.testing.assert_close(parts.coefficients, whole.coefficients, rtol=0, atol=1e-9)
    assert parts.n_iter == whole.n_iter


def test_without_lambda2_smoothing_changes_nothing(
    H: Tensor, support: Tensor, scale: float, smoothness: sp.csr_matrix
) -> None:
    smoothed = smoothed_self_expression(H, support, 0.3 * scale, smoothness, 0.0, tolerance=1e-7, max_iter=20_000)
    plain = sparse_self_expression(H, support, 0.3 * scale, tolerance=1e-9, max_iter=3000)
    torch.testing.assert_close(smoothed.objective.sum(), plain.objective.sum(), rtol=1e-7, atol=0)


def test_the_smoothed_objective_is_that_of_its_coefficients(
    H: Tensor, support: Tensor, scale: float, smoothness: sp.csr_matrix
) -> None:
    with quietly():
        found = smoothed_self_expression(H, support, 0.1 * scale, smoothness, 0.7, max_iter=3)
    Z = square(found, support)
    LZ = torch.from_numpy(smoothness.toarray()) @ Z
    expected = objective(H, Z, 0.1 * scale) + 0.7 * LZ.square().sum(dim=1)
    torch.testing.assert_close(found.objective, expected, rtol=1e-12, atol=0)
    assert len(set(found.gap.tolist())) == 1


# Starts


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_row_is_worse_than_its_start(
    H: Tensor, support: Tensor, scale: float, solver: Any, dtype: torch.dtype
) -> None:
    codes, alpha = H.to(dtype), 0.05 * scale
    good = sparse_self_expression(codes, support, alpha, tolerance=1e-6).coefficients
    rng = torch.Generator().manual_seed(0)
    for noise in (0.0, 1e-6, 1e-2, 1.0):
        start = (good + noise * torch.randn(good.shape, generator=rng, dtype=dtype)).clamp_min(0)
        Z = torch.zeros(len(H), len(H), dtype=torch.float64).scatter_add(1, support, start.double())
        before = objective(codes.double(), Z, alpha)
        for max_iter in (1, 3):
            with quietly():
                found = sparse_self_expression(
                    codes, support, alpha, solver=solver, start=start, tolerance=1e-12, max_iter=max_iter
                )
            # Both sums in float64, in another order.
            assert (found.objective <= before * (1 + 1e-13)).all()


def test_rounding_makes_no_row_worse_than_its_start(H: Tensor, support: Tensor, scale: float) -> None:
    """At a tiny alpha the last digit of a float32 coefficient matters, and other roundings may be better."""
    codes, alpha = H.float(), 1e-10 * scale
    with quietly():
        good = sparse_self_expression(codes, support, alpha).coefficients
    rng = torch.Generator().manual_seed(0)
    for _ in range(10):
        start = good * (1 + 1e-7 * torch.randn(good.shape, generator=rng))
        Z = torch.zeros(len(H), len(H), dtype=torch.float64).scatter_add(1, support, start.double())
        with quietly():
            found = sparse_self_expression(codes, support, alpha, start=start)
        assert (found.objective <= objective(codes.double(), Z, alpha) * (1 + 1e-9)).all()


def test_smoothed_is_not_worse_than_its_start(
    H: Tensor, support: Tensor, scale: float, smoothness: sp.csr_matrix
) -> None:
    settings: dict[str, Any] = {"tolerance": 1e-12, "max_iter": 1}
    start = torch.zeros(support.shape)
    reached = np.inf
    for _ in range(5):
        with quietly():
            found = smoothed_self_expression(H.float(), support, 0.1 * scale, smoothness, 1.0, start=start, **settings)
        assert found.objective.sum() < reached
        reached, start = found.objective.sum().item(), found.coefficients


def test_the_solution_costs_no_iteration(H: Tensor, support: Tensor, scale: float) -> None:
    found = sparse_self_expression(H, support, 0.1 * scale)
    again = sparse_self_expression(H, support, 0.1 * scale, start=found.coefficients)
    assert again.n_iter == 0
    assert (again.objective <= found.objective).all()


# Types and devices


@pytest.mark.parametrize("relative", [1e-4, 1e-2, 1.0])
def test_float32_codes_are_solved_as_float64_ones(H: Tensor, support: Tensor, scale: float, relative: float) -> None:
    codes = H.float()
    single = sparse_self_expression(codes, support, relative * scale, tolerance=1e-5)
    double = sparse_self_expression(codes.double(), support, relative * scale, tolerance=1e-5)
    assert single.coefficients.dtype == torch.float32
    assert single.objective.dtype == single.gap.dtype == torch.float64
    assert single.converged
    torch.testing.assert_close(single.objective, double.objective, rtol=1e-6, atol=0)


def test_codes_that_need_a_gradient_are_only_read(H: Tensor, support: Tensor, scale: float) -> None:
    codes = H.clone().requires_grad_()
    found = sparse_self_expression(codes, support, 0.1 * scale)
    assert not found.coefficients.requires_grad
    assert torch.equal(found.coefficients, sparse_self_expression(H, support, 0.1 * scale).coefficients)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("solver", SOLVERS)
def test_cuda_matches_cpu(H: Tensor, support: Tensor, scale: float, smoothness: sp.csr_matrix, solver: Any) -> None:
    calls: list[Callable[[Tensor, Tensor], SelfExpression]] = [
        lambda H, support: sparse_self_expression(H, support, 0.3 * scale, solver=solver, max_iter=3000),
        lambda H, support: dense_self_expression(H, scale, solver=solver, max_iter=3000),
        lambda H, support: smoothed_self_expression(H, support, 0.3 * scale, smoothness, 1.0),
    ]
    for call in calls:
        with quietly():
            there, here = call(H.cuda(), support.cuda()), call(H, support)
        assert there.coefficients.is_cuda
        assert there.objective.is_cuda
        torch.testing.assert_close(there.objective.cpu(), here.objective, rtol=2e-4, atol=0)


# Hostile input


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("nonnegative", [True, False])
def test_zero_rows_and_zero_atoms(H: Tensor, support: Tensor, scale: float, solver: Any, nonnegative: bool) -> None:
    codes = H.clone()
    codes[::3] = 0
    codes[support[1]] = 0  # all atoms of a row that is not zero itself
    codes[1] = H[1]
    with quietly():
        found = sparse_self_expression(codes, support, 0.1 * scale, solver=solver, nonnegative=nonnegative)
    empty = (codes == 0).all(dim=1)
    assert (found.coefficients[empty] == 0).all()
    assert (found.objective[empty] == 0).all()
    assert (found.gap[empty] == 0).all()
    assert (found.coefficients[1] == 0).all()
    assert found.objective[1] == pytest.approx(codes[1].square().sum().item())
    assert found.coefficients.isfinite().all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_all_zero(solver: Any) -> None:
    found = sparse_self_expression(torch.zeros(4, 3), torch.tensor([[1], [2], [3], [0]]), 1.0, solver=solver)
    assert found.converged
    assert (found.coefficients == 0).all()
    dense = dense_self_expression(torch.zeros(4, 3), 1.0, solver=solver)
    assert (dense.coefficients == 0).all()


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("relative", [1e-3, 0.1])
def test_duplicate_atoms(H: Tensor, support: Tensor, scale: float, relative: float, nonnegative: bool) -> None:
    """Repeating the samples repeats the candidates: singular Gram matrices, the same minimum."""
    N = len(H)
    once = sparse_self_expression(H, support, relative * scale, nonnegative=nonnegative)
    twice = sparse_self_expression(
        torch.cat([H, H]), torch.cat([support, support + N], 1).repeat(2, 1), relative * scale, nonnegative=nonnegative
    )
    assert twice.converged
    torch.testing.assert_close(twice.objective[:N], once.objective, rtol=2e-4, atol=0)
    torch.testing.assert_close(twice.objective[N:], once.objective, rtol=2e-4, atol=0)


def test_an_exact_copy_among_the_candidates(H: Tensor) -> None:
    codes = torch.cat([H, H[:1]])
    alpha = 0.1 * H[0].square().sum().item()
    found = sparse_self_expression(
        codes, torch.full((len(codes), 1), len(H)).index_fill(0, torch.tensor(len(H)), 0), alpha
    )
    # One atom equal to h: z = 1 - alpha / (2 ||h||^2).
    assert found.coefficients[0].item() == pytest.approx(0.95)


@pytest.mark.parametrize("solver", ["admm", "fista"])
def test_two_samples(solver: Any) -> None:
    codes = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
    sparse = sparse_self_expression(codes, torch.tensor([[1], [0]]), 0.5, solver=solver, tolerance=1e-10)
    dense = dense_self_expression(codes, 0.5, solver=solver, tolerance=1e-10)
    # z = (a'h - alpha / 2) / ||a||^2
    expected = torch.tensor([[(2 - 0.25) / 5], [(2 - 0.25) / 1]])
    torch.testing.assert_close(sparse.coefficients, expected)
    torch.testing.assert_close(dense.coefficients, torch.tensor([[0, expected[0, 0]], [expected[1, 0], 0]]))


CODES, NEIGHBOURS = torch.eye(3), torch.tensor([[1], [2], [0]])


def sparse(H: Tensor = CODES, support: Tensor = NEIGHBOURS, alpha: float = 1.0, **options: Any) -> SelfExpression:
    return sparse_self_expression(H, support, alpha, **options)


def smoothed(n: int = 3, lambda2: float = 1.0) -> SelfExpression:
    return smoothed_self_expression(CODES, NEIGHBOURS, 1.0, sp.csr_matrix(np.eye(n)), lambda2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sparse(CODES[0]), "H must be"),
        (lambda: sparse(CODES.half()), "H must be"),
        (lambda: sparse(CODES[:1], NEIGHBOURS[:1]), "H must be"),
        (lambda: sparse(CODES / 0), "H must be finite"),
        (lambda: sparse(alpha=0.0), "alpha must be finite and > 0, got 0"),
        (lambda: sparse(alpha=float("nan")), "alpha must be finite and > 0"),
        (lambda: sparse(tolerance=0), "tolerance must be > 0"),
        (lambda: sparse(max_iter=0), "max_iter must be >= 1"),
        (lambda: sparse(chunk=0), "chunk must be >= 1"),
        (lambda: sparse(solver="newton"), "admm, fista, subgradient"),
        (lambda: sparse(support=NEIGHBOURS.int()), "support must be .*int64"),
        (lambda: sparse(support=NEIGHBOURS[:2]), r"support must be \(N=3"),
        (lambda: sparse(support=NEIGHBOURS + 1), r"support must be in \[0, N-1=2\]"),
        (lambda: sparse(support=torch.tensor([[1], [1], [0]])), "the row itself, got 1 in row 1"),
        (lambda: sparse(start=torch.zeros(3, 2)), "start must be of shape"),
        (lambda: sparse(start=-torch.ones(3, 1)), "start must be finite and >= 0"),
        (lambda: dense_self_expression(CODES, 1.0, start=torch.eye(3)), "zero diagonal"),
        (lambda: dense_self_expression(CODES, 1.0, rows_per_block=0), "rows_per_block must be >= 1"),
        (lambda: smoothed(n=2), "laplacian must be"),
        (lambda: smoothed(lambda2=-1.0), "lambda2 must be"),
    ],
)
def test_bad_input_is_refused_in_one_line(call: Callable[[], SelfExpression], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
