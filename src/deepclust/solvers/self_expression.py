"""Sparse self-expression: each sample as a sparse combination of other samples, certified by a duality gap.

The problem is convex in the rows z_i of Z, for rows h_i of H (N, P). Without `laplacian` every row is a small problem
by itself:

    minimise over Z    sum_i ||h_i - sum_j z_ij h_j||^2 + alpha ||z_i||_1    [ + lambda2 ||L Z||_F^2 ]

Norms are squared and summed, without a factor 1/2: alpha is on the scale of ||h||^2, and callers choose alpha relative
to ||h||^2.

The work is done in float64 for every dtype of H: bounds are right up to rounding of ||h||^2, and rounding in float32 is
as large as the gaps at small alpha. Coefficients come back in H's dtype; objective and gap are those of the rounded
coefficients.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from deepclust.errors import UserError
from deepclust.solvers.admm import admm
from deepclust.solvers.composite import Result, WorkingSet, relative_gap, warn_unconverged
from deepclust.solvers.fista import fista
from deepclust.solvers.lasso import Lasso, OwnAtoms, SeparableLasso, SharedAtoms, SmoothedAtoms

Solver = Literal["admm", "fista", "subgradient"]

_PENALTY = 0.02  # ADMM's first rho, relative to twice the largest squared norm among a row's atoms
_CHECK_EVERY = 10  # iterations between checks of the subgradient method, as in the other solvers
_CPU_WORKSPACE, _GPU_WORKSPACE = 2**25, 2**30  # bytes for a chunk of rows: little beyond the caches; enough for a GPU


@dataclass(frozen=True)
class SelfExpression:
    """Coefficients, and how far they can be from the minimum."""

    coefficients: Tensor  # (N, k) z_i on its support, or (N, N); H's dtype
    objective: Tensor  # (N,) float64, each row's part of the objective at the coefficients
    gap: Tensor  # (N,) float64, at least (objective - minimum) / objective; 0 where the objective is 0
    n_iter: int  # iterations of the slowest row
    converged: bool  # every gap is at most the tolerance


def sparse_self_expression(
    H: Tensor,
    support: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    solver: Solver = "admm",
    start: Tensor | None = None,
    tolerance: float = 1e-4,
    max_iter: int = 300,
    chunk: int | None = None,
) -> SelfExpression:
    """Return the minimisers z_i of ||h_i - sum_j z_ij h_j||^2 + alpha ||z_i||_1 over the candidates j of each row.

    Parameters
    ----------
    H : Tensor of shape (N, P), float32 or float64, on any device
    support : Tensor of shape (N, k), int64, in [0, N)
        Candidates of each row, never the row itself.
    alpha : float > 0
        A row whose 2 |h_j'h_i| (2 h_j'h_i if `nonnegative`) are all at most alpha gets exactly 0.
    nonnegative : bool
        Require z >= 0.
    solver : {"admm", "fista", "subgradient"}
        "admm": ten iterations find most of each row's active set, and the active-set method ends on the minimum.
        "fista": with backtracking, as the hybrid's paper has it, and with adaptive restart (O'Donoghue and Candes,
        2015), which it does not have; hundreds to thousands of iterations.
        "subgradient", from no paper: z <- z - (gradient + alpha sign z) / L, no proximal step; need not converge.
    start : Tensor of shape (N, k), optional
        Coefficients to start from. No returned row has a larger objective than its start.
    tolerance : float > 0
        Largest relative gap of a row; rows that reach it are not worked on further.
    max_iter : int >= 1
        Most iterations. A warning gives the number of rows above the tolerance, and the worst gap.
    chunk : int >= 1, optional
        Rows worked on at once; by default as many as fit into 32 MiB on a CPU and 1 GiB on a GPU.

    Returns
    -------
    SelfExpression
        coefficients of shape (N, k)

    Raises
    ------
    UserError
        If an argument is outside its range.
    """
    _check(H, support, alpha, nonnegative, start, tolerance, max_iter, solver)
    support, k = support.to(H.device), support.shape[1]
    chunk = _rows_at_once("chunk", chunk, 8 * k * (6 * k + 2 * H.shape[1] + 12), H)
    exact = H.detach().double()

    def problem(rows: slice) -> SeparableLasso:
        return OwnAtoms(exact[support[rows]], exact[rows], alpha, nonnegative)

    found = _by_rows(problem, solver, start, (len(H), k), H, tolerance, max_iter, chunk)
    warn_unconverged("sparse_self_expression", found.gap, tolerance, found.n_iter)
    return found


def dense_self_expression(
    H: Tensor,
    alpha: float,
    *,
    nonnegative: bool = False,
    zero_diagonal: bool = True,
    solver: Solver = "admm",
    start: Tensor | None = None,
    tolerance: float = 1e-4,
    max_iter: int = 300,
    rows_per_block: int | None = None,
) -> SelfExpression:
    """Return the minimisers z_i of ||h_i - sum_j z_ij h_j||^2 + alpha ||z_i||_1 over all samples j, for small N.

    An iteration takes time in proportion to N^2, and the result holds N^2 numbers: meant for some thousand samples.

    Parameters
    ----------
    H, alpha, nonnegative, solver, tolerance, max_iter
        As in `sparse_self_expression`.
    zero_diagonal : bool
        Require z_ii = 0. Otherwise rows reproduce themselves: for distinct rows of norm 1, Z is (1 - alpha/2) I.
    start : Tensor of shape (N, N), optional
        As in `sparse_self_expression`; the diagonal must be 0 if `zero_diagonal`.
    rows_per_block : int >= 1, optional
        Rows worked on at once; by default as many as fit into 32 MiB on a CPU and 1 GiB on a GPU.

    Returns
    -------
    SelfExpression
        coefficients of shape (N, N)

    Raises
    ------
    UserError
        If an argument is outside its range.
    """
    _check(H, None, alpha, nonnegative, start, tolerance, max_iter, solver)
    N = len(H)
    if start is not None and zero_diagonal and start.diagonal().any():
        raise UserError("start must have a zero diagonal, got another; clear it with start.fill_diagonal_(0)")
    # A rotation of feature space changes no inner product; in the singular basis the features' Gram matrix is diagonal.
    left, singular, _ = torch.linalg.svd(H.detach().double(), full_matrices=False)
    atoms, rank = left * singular, len(singular)
    m = SharedAtoms.n_candidates(N, rank)
    block = _rows_at_once("rows_per_block", rows_per_block, 8 * (12 * N + m * (6 * m + 2 * rank)), H)

    def problem(rows: slice) -> SeparableLasso:
        own = torch.arange(N, device=H.device)[rows] if zero_diagonal else None
        return SharedAtoms(atoms, singular.square(), atoms[rows], own, alpha, nonnegative)

    found = _by_rows(problem, solver, start, (N, N), H, tolerance, max_iter, block)
    warn_unconverged("dense_self_expression", found.gap, tolerance, found.n_iter)
    return found


def smoothed_self_expression(
    H: Tensor,
    support: Tensor,
    alpha: float,
    laplacian: sp.csr_matrix,
    lambda2: float,
    *,
    nonnegative: bool = True,
    start: Tensor | None = None,
    tolerance: float = 1e-3,
    max_iter: int = 1000,
) -> SelfExpression:
    """Return the minimiser of ||H - Z H||_F^2 + alpha ||Z||_1 + lambda2 ||L Z||_F^2 over Z on a sparse support.

    The last term couples the rows: FISTA solves a single lasso problem of N k variables, on the CPU. The duality gap is
    relative to the whole objective, and every row returns that same gap. A row's objective includes lambda2 times the
    squared norm of its row of L Z.

    Parameters
    ----------
    H, support, alpha, nonnegative
        As in `sparse_self_expression`.
    laplacian : csr_matrix of shape (N, N), symmetric or not
    lambda2 : float >= 0
    start : Tensor of shape (N, k), optional
        Coefficients to start from. The returned objective is never larger than the start's.
    tolerance : float > 0
        Largest gap relative to the whole objective.
    max_iter : int >= 1
        Most iterations. A warning gives the gap if it is above the tolerance.

    Returns
    -------
    SelfExpression
        coefficients of shape (N, k)

    Raises
    ------
    UserError
        If an argument is outside its range.

    Notes
    -----
    The hybrid paper's Eq. (2). The dual point is the residual of both squares, scaled by one factor for all rows. The
    gap therefore follows the worst row, and is sharp at the minimum only.
    """
    _check(H, support, alpha, nonnegative, start, tolerance, max_iter)
    N, k = support.shape
    if laplacian.shape != (N, N) or not np.isfinite(laplacian.data).all():
        found = f"{laplacian.shape}" if laplacian.shape != (N, N) else "NaN or infinity"
        raise UserError(f"laplacian must be finite and of shape ({N}, {N}), as H has {N} rows, got {found}")
    if not (math.isfinite(lambda2) and lambda2 >= 0):
        raise UserError(f"lambda2 must be finite and >= 0, got {lambda2}; 0 leaves the rows uncoupled")
    exact, atoms = H.detach().cpu().double(), support.cpu()
    L = sp.csr_matrix(laplacian, dtype=np.float64)
    bound = float(abs(L).sum(axis=0).max() * abs(L).sum(axis=1).max())  # not below L's squared spectral norm
    rows = OwnAtoms(exact[atoms], exact, alpha, nonnegative)
    problem = SmoothedAtoms(rows, _coupling(atoms.numpy(), L), lambda2, bound)

    begin = torch.zeros(1, N * k, dtype=torch.float64)
    if start is not None:
        begin = start.detach().to("cpu", H.dtype).double().view(1, -1)
    result = fista(problem, begin, curvature=problem.metric(), tolerance=_tighter(tolerance), max_iter=max_iter)
    z, _, gap = _rounded(problem, result, begin, H.dtype)
    Z = z.view(N, k)
    LZ = L @ sp.csr_matrix((Z.numpy().ravel(), (np.repeat(np.arange(N), k), atoms.numpy().ravel())), shape=(N, N))
    objective = rows.certificate(Z)[0] + lambda2 * torch.from_numpy(np.asarray(LZ.power(2).sum(axis=1)).ravel())
    warn_unconverged("smoothed_self_expression", gap, tolerance, result.n_iter)
    converged = bool((gap <= tolerance).all())
    return SelfExpression(Z.to(H), objective.to(H.device), gap.to(H.device).expand(N).clone(), result.n_iter, converged)


def _coupling(support: np.ndarray, L: sp.csr_matrix) -> sp.csr_matrix:
    """Return C (N k, N k) with z'C z = ||L Z||_F^2, z the entries of Z (N, N) on the support.

    Entries (i, j) and (m, j) of one column are coupled by (L'L)_im; entries of different columns are not coupled.
    """
    N, k = support.shape
    of_column = sp.csr_matrix((np.ones(N * k), support.ravel(), np.arange(N * k + 1)), shape=(N * k, N))
    pairs = sp.coo_matrix(of_column @ of_column.T)
    S = sp.csr_matrix(L.T @ L)
    values = np.asarray(S[pairs.row // k, pairs.col // k]).ravel()
    C = sp.csr_matrix((values, (pairs.row, pairs.col)), shape=pairs.shape)
    C.eliminate_zeros()
    return C


def _admm(problem: SeparableLasso, start: Tensor, tolerance: float, max_iter: int) -> Result:
    return admm(problem, start, penalty=_PENALTY * problem.curvature(), tolerance=tolerance, max_iter=max_iter)


def _fista(problem: SeparableLasso, start: Tensor, tolerance: float, max_iter: int) -> Result:
    return fista(problem, start, curvature=problem.curvature(), tolerance=tolerance, max_iter=max_iter)


def _subgradient(problem: SeparableLasso, start: Tensor, tolerance: float, max_iter: int) -> Result:
    """Return the best checked iterate of z <- z - (gradient + alpha sign z) / L, projected onto z >= 0 if required."""
    work = WorkingSet(start, tolerance)
    z, L = start, problem.lipschitz()
    for iteration in range(max_iter + 1):
        if iteration % _CHECK_EVERY == 0 or iteration == max_iter:
            keep = work.record(z, problem.certificate(z))
            if not len(work.rows):
                break
            problem, z, L = problem.subset(keep), z[keep], L[keep]
        z = problem.project(z - (problem.gradient(z) + problem.alpha * z.sign()) / L)
    return work.result(iteration)


_SOLVERS: dict[str, Callable[[SeparableLasso, Tensor, float, int], Result]] = {
    "admm": _admm,
    "fista": _fista,
    "subgradient": _subgradient,
}


def _by_rows(
    problem: Callable[[slice], SeparableLasso],
    solver: str,
    start: Tensor | None,
    shape: tuple[int, int],
    H: Tensor,
    tolerance: float,
    max_iter: int,
    chunk: int,
) -> SelfExpression:
    """Return the solutions of `problem` for all rows, `chunk` at a time."""
    coefficients = H.new_empty(shape)
    objective, gap = (torch.empty(len(H), dtype=torch.float64, device=H.device) for _ in range(2))
    n_iter = 0
    for first in range(0, len(H), chunk):
        rows = slice(first, min(first + chunk, len(H)))
        part = problem(rows)
        begin = torch.zeros(rows.stop - first, shape[1], dtype=torch.float64, device=H.device)
        if start is not None:
            begin = start[rows].detach().to(H).double()
        result = _SOLVERS[solver](part, begin, _tighter(tolerance), max_iter)
        coefficients[rows], objective[rows], gap[rows] = _rounded(part, result, begin, H.dtype)
        n_iter = max(n_iter, result.n_iter)
    return SelfExpression(coefficients, objective, gap, n_iter, bool((gap <= tolerance).all()))


def _tighter(tolerance: float) -> float:
    """Return the tolerance that leaves room for rounding the coefficients to float32."""
    return 0.99 * tolerance


def _rounded(problem: Lasso, result: Result, start: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return the solution rounded to dtype (the start, if rounding made it worse than that), objective and gap."""
    z = result.x.to(dtype).double()
    objective, start_objective = problem.certificate(z)[0], problem.certificate(start)[0]
    keep = start_objective < objective
    z = torch.where(keep[:, None], start, z)
    objective = torch.where(keep, start_objective, objective)
    return z, objective, relative_gap(objective, result.bound)


def _rows_at_once(name: str, rows: int | None, bytes_a_row: int, H: Tensor) -> int:
    if rows is None:
        return max(1, (_CPU_WORKSPACE if H.device.type == "cpu" else _GPU_WORKSPACE) // bytes_a_row)
    if rows < 1:
        raise UserError(f"{name} must be >= 1, got {rows}; leave it out to take what fits")
    return rows


def _check(
    H: Tensor,
    support: Tensor | None,
    alpha: float,
    nonnegative: bool,
    start: Tensor | None,
    tolerance: float,
    max_iter: int,
    solver: str = "fista",
) -> None:
    """Raise UserError for an argument outside its range; without a support, all samples are every row's candidates."""
    if H.ndim != 2 or len(H) < 2 or H.shape[1] < 1 or H.dtype not in (torch.float32, torch.float64):
        raise UserError(f"H must be (N >= 2, P >= 1), float32 or float64, got {tuple(H.shape)}, {H.dtype}")
    if not torch.isfinite(H).all():
        raise UserError("H must be finite, got NaN or infinity; check the network that made it")
    if not (math.isfinite(alpha) and alpha > 0):
        raise UserError(
            f"alpha must be finite and > 0, got {alpha}; at 0 no gap certifies a row: "
            "try a small one, such as 1e-6 times the mean ||h||^2"
        )
    if not tolerance > 0:
        raise UserError(f"tolerance must be > 0, got {tolerance}; 1e-4 is the default")
    if max_iter < 1:
        raise UserError(f"max_iter must be >= 1, got {max_iter}")
    if solver not in _SOLVERS:
        raise UserError(f"unknown solver {solver!r}; choose from {', '.join(_SOLVERS)}")
    N = k = len(H)
    if support is not None:
        if support.ndim != 2 or len(support) != N or support.shape[1] < 1 or support.dtype != torch.int64:
            found = f"{tuple(support.shape)}, {support.dtype}"
            raise UserError(f"support must be (N={N}, k >= 1), int64, as H has N rows, got {found}")
        if support.min() < 0 or support.max() >= N:
            found = f"[{support.min().item()}, {support.max().item()}]"
            raise UserError(f"support must be in [0, N-1={N - 1}], got {found}; it holds row numbers of H")
        own = (support == torch.arange(N, device=support.device)[:, None]).any(dim=1)
        if own.any():
            row = int(own.nonzero()[0])
            raise UserError(f"support must not name the row itself, got {row} in row {row}; leave it out")
        k = support.shape[1]
    if start is None:
        return
    if tuple(start.shape) != (N, k):
        raise UserError(f"start must be of shape {(N, k)}, got {tuple(start.shape)}; leave it out to start from 0")
    if not torch.isfinite(start).all() or (nonnegative and (start < 0).any()):
        least = " and >= 0, as nonnegative is set" if nonnegative else ""
        raise UserError(f"start must be finite{least}, got other values; leave it out to start from 0")
