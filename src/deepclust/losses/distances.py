"""Distances of codes to centroids, and how many of them to hold at a time."""

from torch import Tensor

from deepclust.losses._arguments import real

_ENTRIES = 2**24  # 128 MB in float64


def blocks(n_samples: int, n_clusters: int) -> list[slice]:
    """Return slices of all rows, in order: a matrix (rows, K) of one slice has at most 2^24 entries, or one row.

    Memory then does not grow with N K. Most data are a single slice: at K = 10 a slice has 1.7 million rows.
    """
    size = max(1, _ENTRIES // max(1, n_clusters))
    return [slice(start, start + size) for start in range(0, n_samples, size)]


def squared_distances(z: Tensor, centroids: Tensor) -> Tensor:
    """Return ||z_i - mu_k||^2 (B, K), summed over features, of codes z (B, P) to centroids (K, P).

    Differences are taken directly: |z|^2 - 2 z'mu + |mu|^2 cancels where it matters, near the centroids.
    """
    z, centroids = real(z, centroids)
    return (z.unsqueeze(1) - centroids).square().sum(dim=2)
