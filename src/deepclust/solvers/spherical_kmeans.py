"""k-means by cosine: unit vectors, unit centroids."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from deepclust.errors import UserError
from deepclust.mapped import chunks

_ENTRIES = 2**24  # largest size of a block of the matrix of samples by clusters


@dataclass(frozen=True)
class SphericalKMeans:
    """The best of several starts."""

    labels: np.ndarray  # (N,) int64 in [0, K)
    centers: np.ndarray  # (K, P) float64, rows of norm 1; 0 if all rows of Z are 0
    objective: list[float]  # mean over samples of 1 - cosine to the own centroid, after each assignment; never rises
    n_iter: int
    converged: bool


def spherical_kmeans(
    Z: np.ndarray,
    n_clusters: int,
    *,
    random_state: int,
    n_init: int = 20,
    max_iter: int = 300,
    tolerance: float = 1e-6,
) -> SphericalKMeans:
    """Return the clustering of the rows of Z that minimises the mean of 1 - cos(z_i, m_(s_i)), best of `n_init` starts.

    First centroids are drawn as in k-means++: a sample's probability is proportional to 1 - its cosine to the nearest
    centroid so far (on the sphere, half the squared distance). Then labels and centroids, Norm(sum of the members'
    directions), are updated in turns. The centroid of an empty cluster moves to a sample with the smallest cosine to
    its own centroid, which cannot raise the objective. Rows of norm 0 have the cosine 0 to everything.

    Parameters
    ----------
    Z : ndarray of shape (N, P)
    n_clusters : int in [1, N]
    random_state : int >= 0
    n_init : int >= 1
    max_iter : int >= 1
        Most iterations of a start. A warning says if the best start reaches this limit.
    tolerance : float >= 0
        Stop when the objective falls by at most this share of itself, or no label changes.

    Raises
    ------
    UserError
        If `n_clusters` is outside its range or Z is not finite.

    Notes
    -----
    ULHE-DC, Eq. (5)-(7); Dhillon and Modha, "Concept decompositions for large sparse text data", 2001.
    """
    if not 1 <= n_clusters <= len(Z):
        raise UserError(f"n_clusters must be in [1, N={len(Z)}], got {n_clusters}; use fewer clusters or more samples")
    U = Z.astype(np.float64)
    if not np.isfinite(U).all():
        raise UserError("Z must be finite, got NaN or infinity; check the network that made it")
    U = _directions(U, np.zeros_like(U))
    rng = np.random.default_rng(random_state)
    starts = (_descend(U, _seeds(U, n_clusters, rng), max_iter, tolerance) for _ in range(n_init))
    best = min(starts, key=lambda found: found.objective[-1])
    if not best.converged:
        fall = 1 - best.objective[-1] / best.objective[-2] if len(best.objective) > 1 else math.nan
        warnings.warn(
            f"spherical_kmeans stopped after max_iter={max_iter} iterations, the objective still falling by "
            f"{fall:.1e} of itself, tolerance {tolerance:g}; raise max_iter or the tolerance",
            stacklevel=2,
        )
    return best


def _directions(rows: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return rows scaled to norm 1; `otherwise` has the rows that replace those of norm 0."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(rows, norms, out=otherwise.copy(), where=norms > 0)
    return unit


def _seeds(U: np.ndarray, n_clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Return K rows of U as first centroids (K, P); some are drawn twice if fewer than K rows differ."""
    chosen = [int(rng.integers(len(U)))]
    nearest = np.full(len(U), -np.inf)
    while len(chosen) < n_clusters:
        nearest = np.maximum(nearest, U @ U[chosen[-1]])
        cumulative = np.cumsum(np.maximum(1 - nearest, 0))
        drawn = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
        chosen.append(min(int(drawn), len(U) - 1))
    return U[chosen]


def _descend(U: np.ndarray, centers: np.ndarray, max_iter: int, tolerance: float) -> SphericalKMeans:
    """Return the result of alternating assignments and centroids, starting from the centers (K, P)."""
    labels, history, converged = np.full(len(U), -1), list[float](), False
    size = max(1, _ENTRIES // len(centers))
    while True:
        previous, labels, own = labels, np.empty_like(labels), np.empty(len(U))
        for rows, found, cosine in zip(chunks(U, size), chunks(labels, size), chunks(own, size), strict=True):
            cosines = rows @ centers.T
            found[:] = cosines.argmax(axis=1)
            cosine[:] = cosines[np.arange(len(rows)), found]
        history.append(float(np.mean(1 - own)))
        if np.array_equal(labels, previous) or (
            len(history) > 1
            and history[-2] - history[-1] <= tolerance * abs(history[-2])  # rounding may make a 0 negative
        ):
            converged = True
        if converged or len(history) == max_iter:
            return SphericalKMeans(labels, centers, history, len(history), converged)
        members = sp.csr_array((np.ones(len(U)), labels, np.arange(len(U) + 1)), shape=(len(U), len(centers)))
        centers = _directions(members.T @ U, centers)
        empty = np.flatnonzero(np.bincount(labels, minlength=len(centers)) == 0)
        centers[empty] = U[np.argsort(own, kind="stable")[: len(empty)]]
