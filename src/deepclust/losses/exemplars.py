"""Codes gathered around slowly moving centroids: PC-X's loss terms and its centroids' moving averages."""

import torch
from torch import Tensor

from deepclust.losses._arguments import clusters_of, real


def clustering_loss(squared: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the *mean* over the batch of weights_k ||z_i - mu_k||^2, k = labels_i (PC-X, Eq. (1) and (12)).

    squared (B, K) as from `squared_distances`, labels (B,), weights (K,) or None for 1.
    """
    (squared,) = real(squared)
    labels = clusters_of(labels, *squared.shape)
    own = squared.gather(1, labels[:, None]).squeeze(1)
    return own.mean() if weights is None else (weights[labels] * own).mean()


def assignment_entropy(squared: Tensor, tau: float) -> Tensor:
    """Return the *mean* over the batch of -sum_k lambda_ik ln lambda_ik in [0, ln K] (PC-X, Eq. (8)).

    lambda_i = softmax(-tau ||z_i - mu_k||^2) over k (Eq. (2)), squared (B, K) as from `squared_distances`.
    """
    (squared,) = real(squared)
    log_soft = torch.log_softmax(-tau * squared, dim=1)
    return -(log_soft.exp() * log_soft).sum(dim=1).mean()


def inverse_sizes(sizes: Tensor, smoothing: float) -> Tensor:
    """Return 1 / omega_k (K,), omega_k the size of cluster k over the mean size (PC-X, Eq. (10) and (14)).

    `smoothing` > 0 is added to every size (K,), and the total is kept (Laplace): an empty cluster's weight is finite.
    With the exact sizes and no smoothing, `clustering_loss` is the mean over clusters of their mean squared distances.
    Where all are empty, all weights are 1.
    """
    (sizes,) = real(sizes)
    smoothed = _smoothed(sizes, smoothing)
    return torch.where(sizes.sum() > 0, smoothed.mean() / smoothed, 1.0)


def moving_average(centroids: Tensor, z: Tensor, labels: Tensor, kappa: float) -> tuple[Tensor, Tensor]:
    """Return the centroids (K, P) moved towards the batch, and how many of its samples each has (K,).

    mu_k <- kappa mu_k + (1 - kappa) mean of the z_i with labels_i = k (PC-X, Eq. (6)); without such z_i, mu_k is kept.
    """
    centroids, z = real(centroids, z)
    counts, sums = _of_batch(z, labels, len(centroids))
    means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centroids)
    return torch.lerp(means, centroids, kappa), counts


def moving_ratio(
    sums: Tensor, sizes: Tensor, z: Tensor, labels: Tensor, kappa: float, smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return moving sums (K, P) and sizes (K,), whose ratios are the centroids, and the batch's counts (K,).

    w_k <- kappa w_k + (1 - kappa) sum of the z_i with labels_i = k, and n_k the same of their number (PC-X, Eq. (13)),
    then smoothed, as it is kept (Eq. (14)): mu_k = w_k / n_k. A batch then counts by its samples, and a cluster that
    has none moves: mu_k goes to 0 as w_k does, while n_k goes to smoothing / (1 - kappa).
    """
    sums, sizes, z = real(sums, sizes, z)
    counts, of_batch = _of_batch(z, labels, len(sums))
    sizes = _smoothed(torch.lerp(counts, sizes, kappa), smoothing)
    return torch.lerp(of_batch, sums, kappa), sizes, counts


def _of_batch(z: Tensor, labels: Tensor, n_clusters: int) -> tuple[Tensor, Tensor]:
    """Return how many of the codes z (B, P) each cluster has (K,), and their sum (K, P)."""
    labels = clusters_of(labels, len(z), n_clusters)
    counts = z.new_zeros(n_clusters).index_add_(0, labels, z.new_ones(len(z)))
    return counts, z.new_zeros(n_clusters, z.shape[1]).index_add_(0, labels, z)


def _smoothed(sizes: Tensor, smoothing: float) -> Tensor:
    """Return sizes (K,) with `smoothing` added to each and the total kept (Laplace; PC-X, Eq. (14))."""
    return (sizes + smoothing) * sizes.sum() / (sizes + smoothing).sum()
