"""Distances of codes to centroids."""

from torch import Tensor


def squared_distances(z: Tensor, centroids: Tensor) -> Tensor:
    """Return ||z_i - mu_k||^2 (B, K), summed over features, of codes z (B, P) to centroids (K, P).

    Differences are taken directly: |z|^2 - 2 z'mu + |mu|^2 cancels where it matters, near the centroids.
    """
    return (z.unsqueeze(1) - centroids).square().sum(dim=2)
