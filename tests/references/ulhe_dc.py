"""ULHE-DC's formulas (Section 3), by plain loops; Z holds codes as the network gives them, one row a sample."""

import math

import numpy as np


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))


def direction(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / math.sqrt(float(vector @ vector))
    return unit


def norm_penalty(Z: np.ndarray) -> float:
    """Return Eq. (2)."""
    return sum((math.sqrt(float(z @ z)) - 1) ** 2 for z in Z) / len(Z)


def assignments(Z: np.ndarray, centroids: np.ndarray) -> list[int]:
    """Return Eq. (6)."""
    return [min(range(len(centroids)), key=lambda k: 1 - cosine(z, centroids[k])) for z in Z]


def centroid(Z: np.ndarray, labels: list[int], k: int) -> np.ndarray:
    """Return Eq. (7) of a cluster that has members."""
    return direction(
        sum((direction(z) for z, label in zip(Z, labels, strict=True) if label == k), np.zeros(Z.shape[1]))
    )


def momentum(centroids: np.ndarray, Z: np.ndarray, labels: list[int], n_samples: int) -> np.ndarray:
    """Return Eq. (8); a cluster without members stays."""
    moved = centroids.copy()
    for k in range(len(centroids)):
        if k in labels:
            weight = len(centroids) * labels.count(k) / n_samples
            moved[k] = direction(centroids[k] + weight * centroid(Z, labels, k))
    return moved


def uniformity(Z: np.ndarray, labels: list[int], guard: float = 0.1) -> float:
    """Return Eq. (11) over the clusters that have members; below the guard, which is ours, 1/x is its tangent."""
    centroids = [centroid(Z, labels, k) for k in sorted(set(labels))]
    total = 0.0
    for i, a in enumerate(centroids):
        for j, b in enumerate(centroids):
            if i != j:
                gap = 1 - float(a @ b)
                total += 1 / gap if gap >= guard else 1 / guard - (gap - guard) / guard**2
    return total


def compactness(Z: np.ndarray, labels: list[int], n_clusters: int, reduction: str) -> float:
    """Return Eq. (12): the sum over pairs of members as printed, or their mean."""
    total = 0.0
    for k in range(n_clusters):
        members = [z for z, label in zip(Z, labels, strict=True) if label == k]
        pairs = [1 - cosine(a, b) for a in members for b in members]
        if pairs:
            total += sum(pairs) / (len(pairs) if reduction == "mean" else 1)
    return total / n_clusters


def clustering(Z: np.ndarray, centroids: np.ndarray, labels: list[int]) -> float:
    """Return Eq. (4)."""
    return sum(1 - cosine(z, centroids[k]) for z, k in zip(Z, labels, strict=True)) / len(Z)
