"""Losses of codes on the unit sphere: distance from it, spread of the clusters, width of each cluster (ULHE-DC)."""

import functools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from deepclust.losses._arguments import clusters_of, real
from deepclust.losses.distances import blocks

Reduction = Literal["mean", "sum"]

_SHORT = 1e-4  # vectors below this length count as having no direction: bounds the derivative of normalising
_NEAR = 0.1  # 1 - cosine of 26 degrees; closer pairs repel with a force that grows no further


def directions(z: Tensor) -> Tensor:
    """Return z (..., P) scaled to rows of norm 1; rows shorter than 1e-4 stay proportionally shorter, 0 stays 0."""
    (z,) = real(z)
    unit: Tensor = F.normalize(z, dim=-1, eps=_SHORT)
    return unit


def norm_penalty(z: Tensor) -> Tensor:
    """Return the *mean* over codes z (B, P) of (||z_i|| - 1)^2, Euclidean norm (ULHE-DC, Eq. (2))."""
    (z,) = real(z)
    penalty: Tensor = (torch.linalg.vector_norm(z, dim=1) - 1).square().mean()
    return penalty


def cluster_directions(u: Tensor, labels: Tensor, n_clusters: int) -> tuple[Tensor, Tensor]:
    """Return the centroids Norm(sum of the members of cluster k) (K, P) and the clusters' sizes (K,).

    u : (B, P), rows of norm 1; labels : (B,) int64 in [0, K). A cluster without members has the centroid 0. Gradient
    reaches u (ULHE-DC, Eq. (7)).
    """
    (u,) = real(u)
    parts = (_sums(u[rows], labels[rows], n_clusters)[1:] for rows in blocks(len(u), n_clusters))
    sums, sizes = (functools.reduce(torch.add, found) for found in zip(*parts, strict=True))
    return directions(sums / sizes.clamp_min(1).unsqueeze(1)), sizes


def uniformity(centroids: Tensor, present: Tensor, at_most: int | None = None) -> Tensor:
    """Return the *sum* over ordered pairs i != j of present clusters of 1 / (1 - m_i'm_j) (ULHE-DC, Eq. (11)).

    Parameters
    ----------
    centroids : Tensor of shape (K, P)
        Rows of norm 1. For K <= P + 1 the minimum, (K-1)^2, is a simplex: all cosines are -1/(K-1).
    present : Tensor of shape (K,), bool or sizes
        Whether a cluster is in the batch; the sum leaves out clusters that are not.
    at_most : int, optional
        The most clusters that can be present: the batch's size. If K is larger, only so many centroids are compared,
        with the same value.

    Notes
    -----
    Where 1 - m_i'm_j is below 0.1, its reciprocal is continued by its tangent: finite at 0, and still repelling. The
    printed sum includes i = j, whose infinite terms the paper takes to be 0.
    """
    (centroids,) = real(centroids)
    present = present != 0
    if at_most is not None and at_most < len(centroids):
        first = present.byte().argsort(descending=True, stable=True)[:at_most]
        centroids, present = centroids[first], present[first]
    # ||m_i - m_j||^2 / 2, which does not cancel for close pairs as 1 - m_i'm_j does
    gap = (centroids.unsqueeze(1) - centroids).square().sum(dim=2) / 2
    energy = torch.where(gap >= _NEAR, 1 / gap.clamp_min(_NEAR), (2 - gap / _NEAR) / _NEAR)
    pairs = present.unsqueeze(1) & present
    return (energy * pairs.fill_diagonal_(False)).sum()


def compactness(u: Tensor, labels: Tensor, n_clusters: int, reduction: Reduction = "mean") -> Tensor:
    """Return 1/K times the sum over clusters of 1 - u_i'u_j over the pairs of members (ULHE-DC, Eq. (12)).

    u : (B, P), rows of norm 1; labels : (B,) int64 in [0, K). `reduction` is over a cluster's n^2 ordered pairs, each
    member with itself among them: "sum" is the paper's and grows with n^2, "mean" lies in [0, 1]. Absent clusters count
    as 0.

    Notes
    -----
    The sum over pairs of 1 - u_i'u_j is n sum_i ||u_i - mean u||^2: O(B P), and 0 without cancellation where a
    cluster's members coincide.
    """
    (u,) = real(u)
    members, sums, sizes = _sums(u, labels, n_clusters)
    spread = (u - members @ (sums / sizes.clamp_min(1).unsqueeze(1))).square().sum(dim=1)
    weight = sizes if reduction == "sum" else 1 / sizes.clamp_min(1)
    return (members @ weight * spread).sum() / n_clusters


def _sums(u: Tensor, labels: Tensor, n_clusters: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the membership (B, K) as 0 and 1, the sums of the members (K, P) and the sizes (K,).

    The sums are matrix products: sums of scattered rows would depend on the rows' order on a GPU.
    """
    labels = clusters_of(labels, len(u), n_clusters)
    members = (labels.unsqueeze(1) == torch.arange(n_clusters, device=u.device)).to(u.dtype)
    return members, members.T @ u, members.sum(dim=0)
