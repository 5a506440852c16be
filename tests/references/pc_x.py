"""PC-X's formulas (Pan, Yao and Tsang 2024), by plain loops."""

import math

import numpy as np


def squared_distances(z: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return np.array([[sum((a - b) ** 2 for a, b in zip(row, mu, strict=True)) for mu in centroids] for row in z])


def soft_assignment(z: np.ndarray, centroids: np.ndarray, tau: float) -> np.ndarray:
    """Return lambda (B, K) of Eq. (2)."""
    kernel = np.exp(-tau * squared_distances(z, centroids))
    return np.array([row / sum(row) for row in kernel])


def assignment_entropy(z: np.ndarray, centroids: np.ndarray, tau: float) -> float:
    """Return L_ME of Eq. (8); 0 ln 0 = 0."""
    soft = soft_assignment(z, centroids, tau)
    return -math.fsum(p * math.log(p) for p in soft.ravel() if p > 0) / len(z)


def clustering_loss(z: np.ndarray, centroids: np.ndarray, omega: np.ndarray) -> float:
    """Return the re-weighted loss of Eq. (12)'s first form; omega = 1 is Eq. (1)."""
    squared = squared_distances(z, centroids)
    return math.fsum(min(row) / omega[row.argmin()] for row in squared) / len(z)


def mean_within_cluster_variance(z: np.ndarray, centroids: np.ndarray) -> float:
    """Return what Eq. (12) says the re-weighted loss is: each cluster's mean squared distance, averaged over them."""
    squared = squared_distances(z, centroids)
    labels = squared.argmin(axis=1)
    spreads = [np.mean([squared[i, k] for i in range(len(z)) if labels[i] == k]) for k in range(len(centroids))]
    return float(np.mean(spreads))


def relative_sizes(sizes: np.ndarray, epsilon: float) -> np.ndarray:
    """Return omega (K,) of Eq. (10) from the sizes smoothed by Eq. (14)."""
    total = sum(sizes)
    smoothed = [(size + epsilon) * total / (total + epsilon * len(sizes)) for size in sizes]
    return np.array([size * len(sizes) / sum(smoothed) for size in smoothed])


def moving_average(centroids: np.ndarray, z: np.ndarray, labels: np.ndarray, kappa: float) -> np.ndarray:
    """Return the centroids after one batch, Eq. (6)-(7) with a constant kappa; those without a sample are kept."""
    moved = centroids.copy()
    for k in range(len(centroids)):
        members = [z[i] for i in range(len(z)) if labels[i] == k]
        if members:
            moved[k] = kappa * centroids[k] + (1 - kappa) * sum(members) / len(members)
    return moved


def moving_ratio(
    sums: np.ndarray, sizes: np.ndarray, z: np.ndarray, labels: np.ndarray, kappa: float, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numerators (K, P) and denominators (K,) of the centroids after one batch, as released."""
    n_clusters = len(sums)
    sums, sizes = sums.copy(), sizes.copy()
    for k in range(n_clusters):
        members = [z[i] for i in range(len(z)) if labels[i] == k]
        sizes[k] = kappa * sizes[k] + (1 - kappa) * len(members)
        sums[k] = kappa * sums[k] + (1 - kappa) * sum(members, np.zeros(z.shape[1]))
    total = sum(sizes)
    return sums, np.array([(size + epsilon) / (total + n_clusters * epsilon) * total for size in sizes])
