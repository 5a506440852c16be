"""Convex clustering (sum of norms): samples drawn together by norms of differences, certified by a duality gap.

For samples x_i, the rows of X (N, D), and weights w_l > 0 of E pairs l = (i, j), each pair once:

    minimise over U    F(U) = 1/2 sum_i ||x_i - u_i||^2 + gamma sum_l w_l ||u_i - u_j||

Norms are Euclidean, those of differences not squared; sums, no means. Samples whose rows of U are equal form a cluster.
With B (E, N) the signed incidence matrix, (B U)_l = u_i - u_j, the dual is

    maximise over Lambda    1/2 ||X||^2 - 1/2 ||X - B' Lambda||^2    such that ||lambda_l|| <= gamma w_l,

and U = X - B' Lambda at the solution. A pair is fused where lambda_l needs no projection onto its ball.

Everything is NumPy's, in float64: the differences of all pairs (E, D) are larger than any cache, and a pass over them
block by block, all operations at once, takes a fraction of the time of the general FISTA and ADMM beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from deepclust.errors import UserError

Solver = Literal["ama", "admm"]

_BLOCK = 2**17  # entries of the differences worked on at a time, 1 MB
_CHECK_EVERY = 10  # iterations between evaluations of the gap; the first and the last are checked as well
_ROUNDING = 8 * float(np.finfo(np.float64).eps)  # of F and the dual, relative to ||X||^2


@dataclass(frozen=True)
class ConvexClustering:
    """The point at which a solver stopped, its clusters, and how far it can be from the minimum."""

    U: np.ndarray  # (N, D), the best point checked; its rows are equal within a component
    components: np.ndarray  # (N,) from 0 in the order of first samples: what fused pairs connect, however small
    dual: np.ndarray  # (E, D), the last Lambda, which is feasible; a start for another gamma
    objective: float  # F(U)
    gap: float  # at least (F(U) - min F) / F(U); 0 where the difference is rounding of ||X||^2
    n_iter: int
    converged: bool  # the gap is at most the tolerance


def prox_group_l2(x: np.ndarray, step: np.ndarray | float) -> np.ndarray:
    """Return argmin over z of step_l ||z_l|| + 1/2 ||z_l - x_l||^2 for each row of x (E, D), the norm not squared.

    A row moves towards 0 by `step` >= 0, a number or (E,), and at most to 0. The difference is the row's projection
    onto the ball of that radius.
    """
    taken = x.astype(np.float64)
    _project(taken, np.broadcast_to(step, len(x)))
    moved: np.ndarray = x - taken
    return moved


def convex_clustering(
    X: np.ndarray,
    pairs: np.ndarray,
    weights: np.ndarray,
    gamma: float,
    *,
    solver: Solver = "ama",
    start: np.ndarray | None = None,
    penalty: float = 1.0,
    tolerance: float = 1e-4,
    max_iter: int = 5000,
) -> ConvexClustering:
    """Return an approximate minimiser U of F, its components and a bound of its distance from the minimum.

    ``ama``, projected gradient ascent on the dual with Nesterov's momentum and restart, beginning with M = Lambda:

        Lambda <- projection of M + step * B (X - B' M) onto the balls, row by row
        M      <- Lambda + momentum (Lambda - Lambda before)

    The step of pair (i, j) is 1 / (n_i + n_j), n the number of a sample's pairs: B B' is at most the diagonal matrix
    of the inverse steps, since their difference is diagonally dominant.

    ``admm`` splits V = B U with a penalty rho, and solves for U by one factorisation; Lambda is the multiplier:

        U      <- (I + rho B'B)^-1 (X + B'(rho V - Lambda))
        rho V  <- prox of Lambda + rho B U (`prox_group_l2` with steps gamma w);    Lambda <- what the prox took off

    The certificate is the same for both: the dual objective is a lower bound, and the upper one is F at X - B' Lambda
    averaged over each component of fused pairs, so that the clusters returned are those of a point of this gap.

    Parameters
    ----------
    X : array of shape (N, D), finite
        Best of about the size of its differences; the mean is subtracted here.
    pairs : integer array of shape (E, 2), i != j, in [0, N)
    weights : array of shape (E,), positive
    gamma : float >= 0
    solver : {"ama", "admm"}
    start : array of shape (E, D), optional
        Lambda to start from, as `dual` of another gamma; rows too long are scaled down.
    penalty : float > 0
        rho of "admm"; it has no unit.
    tolerance : float > 0
        Largest relative gap.
    max_iter : int >= 1

    Raises
    ------
    UserError
        If an argument is outside its range.

    Notes
    -----
    Hocking, Joulin, Bach and Vert, "Clusterpath", ICML 2011; Chi and Lange, "Splitting methods for convex clustering",
    JCGS 2015, whose ADMM and AMA these are, with one step for all pairs. Restart: O'Donoghue and Candes,
    "Adaptive restart for accelerated gradient schemes", 2015, Section 3.2.
    """
    _check(X, pairs, weights, gamma, start, solver, penalty, tolerance, max_iter)
    mean = X.mean(axis=0, dtype=np.float64)
    problem = _Problem(X - mean, pairs, weights, gamma)
    dual = np.zeros((len(pairs), X.shape[1])) if start is None else np.array(start, dtype=np.float64)
    _project(dual, problem.radius)
    iterates = _ama(problem, dual) if solver == "ama" else _admm(problem, dual, penalty)
    objective, bound, gap = np.inf, -np.inf, np.inf
    for iteration, iterate in enumerate(iterates, start=1):
        if (iteration - 1) % _CHECK_EVERY and iteration < max_iter:
            continue
        dual, pulled, fused = iterate
        bound = max(bound, 0.5 * float(np.vdot(problem.X + (problem.X - pulled), pulled)))
        centers, labels = problem.averaged(problem.X - pulled, fused)
        reached = problem.objective(centers, labels)
        if reached < objective:
            objective, U, components = reached, centers[labels], labels
        gap = (objective - bound) / objective if objective - bound > problem.rounding else 0.0
        if gap <= tolerance or iteration == max_iter:
            break
    return ConvexClustering(U + mean, components, dual, objective, gap, iteration, gap <= tolerance)


class _Problem:
    """One gamma's data: centred X (N, D), the pairs' samples and weights, and the balls' radii gamma w (E,)."""

    def __init__(self, X: np.ndarray, pairs: np.ndarray, weights: np.ndarray, gamma: float) -> None:
        n_pairs = len(pairs)
        self.X, self.gamma, self.weights = X, gamma, weights.astype(np.float64)
        self.radius = gamma * self.weights
        self.i, self.j = np.ascontiguousarray(pairs.T)
        signs = np.tile([1.0, -1.0], n_pairs)
        shape = (n_pairs, len(X))
        self.incidence = sp.csr_matrix((signs, pairs.ravel(), np.arange(0, 2 * n_pairs + 1, 2)), shape=shape)
        self.transposed = sp.csr_matrix(self.incidence.T)
        self.rounding = _ROUNDING * float(np.vdot(X, X))

    def averaged(self, U: np.ndarray, fused: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the means of U over the components of the fused pairs (E,), (C, D), and each sample's number (N,)."""
        n = len(U)
        links = sp.coo_matrix((np.ones(fused.sum()), (self.i[fused], self.j[fused])), shape=(n, n))
        _, labels = connected_components(links, directed=False)
        members = sp.csr_matrix((np.ones(n), (labels, np.arange(n))))
        return (members @ U) / np.bincount(labels)[:, None], labels.astype(np.int64)

    def objective(self, centers: np.ndarray, labels: np.ndarray) -> float:
        """Return F at centers[labels]; pairs between the same two components cost one norm together."""
        rest = self.X - centers[labels]
        C = len(centers)
        between = sp.coo_matrix((self.weights, (labels[self.i], labels[self.j])), shape=(C, C)).tocsr().tocoo()
        norms = 0.0
        for rows in _blocks(between.nnz, centers.shape[1]):
            norms += float(between.data[rows] @ _norms(_differences(centers, between.row[rows], between.col[rows])))
        return 0.5 * float(np.vdot(rest, rest)) + self.gamma * norms


def _ama(problem: _Problem, dual: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield Lambda, B' Lambda and which pairs are fused after each step. B' M follows from the last two B' Lambda."""
    touching = abs(problem.incidence)
    step = 1 / (touching @ (touching.T @ np.ones(len(dual))))
    fused = np.zeros(len(dual), dtype=bool)
    before = dual.copy()
    pulled = pulled_before = problem.transposed @ dual
    t, momentum = 1.0, 0.0
    while True:
        U = problem.X - (pulled + momentum * (pulled - pulled_before))
        uphill = 0.0
        for rows in _blocks(*dual.shape):
            M = dual[rows] + momentum * (dual[rows] - before[rows])
            new = _differences(U, problem.i[rows], problem.j[rows])
            new *= step[rows, None]
            new += M
            fused[rows] = _project(new, problem.radius[rows])
            M -= new
            uphill += float(np.einsum("ld,ld->l", M, new - dual[rows]) @ (1 / step[rows]))
            before[rows] = new
        dual, before = before, dual
        pulled, pulled_before = problem.transposed @ dual, pulled
        yield dual, pulled, fused
        t_before = 1.0 if uphill > 0 else t
        t = (1 + np.sqrt(1 + 4 * t_before**2)) / 2
        momentum = (t_before - 1) / t


def _admm(problem: _Problem, dual: np.ndarray, rho: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield Lambda, B' Lambda and which pairs are fused, those of V = 0, after each iteration."""
    system = sp.eye_array(len(problem.X)) + rho * (problem.transposed @ problem.incidence)
    factor = splu(sp.csc_matrix(system), "MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True})
    fused = np.zeros(len(dual), dtype=bool)
    target = -dual  # rho V - Lambda
    while True:
        U = factor.solve(problem.X + problem.transposed @ target)
        for rows in _blocks(*dual.shape):
            z = _differences(U, problem.i[rows], problem.j[rows])
            z *= rho
            z += dual[rows]
            V = prox_group_l2(z, problem.radius[rows])  # times rho
            fused[rows] = ~V.any(axis=1)
            dual[rows] = z - V
            target[rows] = V - dual[rows]
        yield dual, problem.transposed @ dual, fused


def _blocks(n_pairs: int, n_features: int) -> Iterator[slice]:
    size = max(1, _BLOCK // n_features)
    return (slice(start, start + size) for start in range(0, n_pairs, size))


def _differences(U: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    found: np.ndarray = U[i]
    found -= U[j]
    return found


def _norms(x: np.ndarray) -> np.ndarray:
    norms: np.ndarray = np.sqrt(np.einsum("ld,ld->l", x, x))
    return norms


def _project(x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Scale down, in place, the rows of x (E, D) longer than `radius` (E,); return a mask of the others."""
    norms = _norms(x)
    inside: np.ndarray = norms <= radius
    x *= np.where(inside, 1, radius / np.where(inside, 1, norms))[:, None]
    return inside


def _check(
    X: np.ndarray,
    pairs: np.ndarray,
    weights: np.ndarray,
    gamma: float,
    start: np.ndarray | None,
    solver: str,
    penalty: float,
    tolerance: float,
    max_iter: int,
) -> None:
    if X.ndim != 2 or 0 in X.shape or not np.isfinite(X).all():
        raise UserError(f"X must be finite and of shape (N, D), N and D at least 1, got shape {X.shape}")
    N = len(X)
    whole = pairs.ndim == 2 and pairs.shape[1] == 2 and pairs.dtype.kind in "iu"
    if not whole or (pairs < 0).any() or (pairs >= N).any() or (pairs[:, 0] == pairs[:, 1]).any():
        raise UserError(f"pairs must hold two different sample numbers in [0, N-1={N - 1}] a row, shape (E, 2)")
    if weights.shape != (len(pairs),) or not (np.isfinite(weights) & (weights > 0)).all():
        raise UserError(f"weights must be finite and > 0, one for each of the {len(pairs)} pairs; drop others")
    if start is not None and start.shape != (len(pairs), X.shape[1]):
        raise UserError(f"start must have shape (E, D) = ({len(pairs)}, {X.shape[1]}), got {start.shape}")
    if solver not in get_args(Solver):
        raise UserError(f"solver must be one of {', '.join(get_args(Solver))}, got {solver!r}")
    if not 0 <= gamma < np.inf:
        raise UserError(f"gamma must be finite and at least 0, got {gamma}")
    for name, value in (("penalty", penalty), ("tolerance", tolerance), ("max_iter", max_iter)):
        if not 0 < value < np.inf:
            raise UserError(f"{name} must be finite and above 0, got {value}")
