"""DEC's formulas (Xie, Girshick and Farhadi 2016, Section 3.1), by plain loops; the divergence is a mean over rows."""

import math

import numpy as np


def soft_assignment(z: np.ndarray, centroids: np.ndarray, alpha: float) -> np.ndarray:
    """Return q of Eq. (1)."""
    q = np.empty((len(z), len(centroids)))
    for i in range(len(z)):
        for j in range(len(centroids)):
            squared = sum((z[i, d] - centroids[j, d]) ** 2 for d in range(z.shape[1]))
            q[i, j] = (1 + squared / alpha) ** (-(alpha + 1) / 2)
        q[i] /= sum(q[i])
    return q


def target_distribution(q: np.ndarray) -> np.ndarray:
    """Return p of Eq. (3)."""
    n_samples, n_clusters = q.shape
    frequency = [sum(q[i, j] for i in range(n_samples)) for j in range(n_clusters)]
    p = np.empty_like(q)
    for i in range(n_samples):
        total = sum(q[i, k] ** 2 / frequency[k] for k in range(n_clusters))
        for j in range(n_clusters):
            p[i, j] = q[i, j] ** 2 / frequency[j] / total
    return p


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Return Eq. (2) over the number of rows; 0 ln 0 = 0."""
    terms = [a * math.log(a / b) for a, b in zip(p.ravel(), q.ravel(), strict=True) if a > 0]
    return math.fsum(terms) / len(p)


def gradient(p: np.ndarray, z: np.ndarray, centroids: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of the mean divergence by z and by the centroids: Eq. (4) and (5) over the rows."""
    q = soft_assignment(z, centroids, alpha)
    by_z, by_centroids = np.zeros_like(z), np.zeros_like(centroids)
    for i in range(len(z)):
        for j in range(len(centroids)):
            difference = z[i] - centroids[j]
            pull = (alpha + 1) / alpha * (p[i, j] - q[i, j]) / (1 + difference @ difference / alpha) * difference
            by_z[i] += pull
            by_centroids[j] -= pull
    return by_z / len(z), by_centroids / len(z)
