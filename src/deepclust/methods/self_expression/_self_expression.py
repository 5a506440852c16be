"""The affinity |Z| + |Z'| of codes by convex self-expression: shared by the hybrid and methods built on it."""

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from deepclust.solvers.self_expression import SelfExpression, smoothed_self_expression, sparse_self_expression

GAP = 1e-4  # duality gap at which the Z-step is done with a row, relative to the row's objective
_SMALLEST = 1e-6  # share of a code's largest standard deviation: whitening does not blow up smaller directions


def default_width(n_samples: int) -> int:
    """Return the number of candidates of a sample: the integer nearest to ln N, at least 1.

    At about ln N neighbours the neighbourhood graph of a random sample becomes connected. More neighbours only add
    edges that the convex step has to take out again.
    """
    return max(1, round(math.log(n_samples)))


def strongest_edges(W: sp.csr_matrix, n_candidates: int) -> np.ndarray:
    """Return the columns (N, m) of each row's `n_candidates` largest weights; N stands where a row has fewer.

    Ties go to the smaller column. m is at most the largest number of edges a sample has, and at least 1.
    """
    n_samples = W.shape[0]
    lengths = np.diff(W.indptr)
    width = max(1, min(n_candidates, int(lengths.max())))
    rows = np.repeat(np.arange(n_samples), lengths)
    order = np.lexsort((W.indices, -W.data, rows))
    rank = np.arange(W.nnz) - W.indptr[rows]
    kept = rank < width
    support = np.full((n_samples, width), n_samples, dtype=np.int64)
    support[rows[kept], rank[kept]] = W.indices[order][kept]
    return support


def to_unit_covariance(codes: Tensor, *, whiten: bool) -> tuple[Tensor, Tensor]:
    """Return the mean (P,) and the symmetric (P, P) matrix that brings the codes' covariance to I, or its diagonal."""
    shift = codes.mean(dim=0)
    centred = codes - shift
    covariance = centred.T @ centred / len(codes)
    if not whiten:
        covariance = torch.diag(covariance.diagonal())
    variances, directions = torch.linalg.eigh(covariance)
    largest = variances[-1] if variances[-1] > 0 else torch.ones_like(variances[-1])
    return shift, directions @ torch.diag(variances.clamp(min=_SMALLEST**2 * largest).rsqrt()) @ directions.T


def scaled_alpha(H: Tensor, alpha: float) -> float:
    """Return `alpha` times the mean over samples of ||h_i||^2 (of 1 if it is 0), the scale of ||H - Z H||^2."""
    return alpha * (float(H.double().square().sum(dim=1).mean()) or 1.0)


def self_expression(
    H: Tensor,
    support: Tensor,
    alpha: float,
    *,
    laplacian: sp.csr_matrix | None = None,
    lambda2: float = 0.0,
    solver: Any = "admm",
    nonnegative: bool = True,
    max_iter: int = 300,
    start: Tensor | None = None,
) -> SelfExpression:
    """Return the minimiser over Z on candidates padded by N, as `strongest_edges` gives them; H (N, P).

    With `lambda2` > 0 the solver is FISTA on the CPU, and `solver` is ignored. A solve that stops at `max_iter` does
    not warn: the result has the gaps, for a trace.
    """
    n_samples = len(H)
    H = F.pad(H.double(), (0, 0, 0, 1))  # atom N is 0: samples with fewer candidates point to it
    support = F.pad(support, (0, 0, 0, 1))
    start = None if start is None else F.pad(start, (0, 0, 0, 1))
    budget: dict[str, Any] = {"nonnegative": nonnegative, "start": start, "tolerance": GAP, "max_iter": max_iter}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if lambda2:
            assert laplacian is not None
            ends = np.append(laplacian.indptr, laplacian.indptr[-1])
            L = sp.csr_matrix((laplacian.data, laplacian.indices, ends), shape=(n_samples + 1, n_samples + 1))
            found = smoothed_self_expression(H, support, alpha, L, lambda2, **budget)
        else:
            found = sparse_self_expression(H, support, alpha, solver=solver, **budget)
    rows = slice(n_samples)
    return replace(found, coefficients=found.coefficients[rows], objective=found.objective[rows], gap=found.gap[rows])


def sparse(coefficients: Tensor, support: Tensor) -> sp.csr_matrix:
    """Return Z (N, N) with these coefficients (N, m) at the candidates' columns, zeros dropped."""
    n_samples, width = support.shape
    places = (np.repeat(np.arange(n_samples), width), support.cpu().numpy().ravel())
    padded = sp.csr_matrix((coefficients.cpu().numpy().ravel(), places), shape=(n_samples, n_samples + 1))
    Z = sp.csr_matrix(padded[:, :n_samples])
    Z.eliminate_zeros()
    return Z


def edges(Z: sp.csr_matrix) -> sp.csr_matrix:
    """Return |Z| + |Z'| (N, N)."""
    return sp.csr_matrix(abs(Z) + abs(Z).T)


def union(one: sp.csr_matrix, other: sp.csr_matrix) -> sp.csr_matrix:
    """Return the sum of two affinities, each scaled to sum 1."""
    return sp.csr_matrix(one * (1 / (one.sum() or 1.0)) + other * (1 / (other.sum() or 1.0)))
