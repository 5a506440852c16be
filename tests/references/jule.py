"""JULE's weighted triplet loss (Yang et al. 2016) and its schedule by plain loops."""

import math

import numpy as np

from tests.references.agglomerate import gdl


def triplets(labels: np.ndarray, negatives: np.ndarray) -> list[tuple[int, int, int]]:
    """Return all (anchor, positive, negative) of a batch; negatives (B, B, n) are those at hand for each pair."""
    n_used = min(negatives.shape[2], len(set(labels.tolist())) - 1)
    found = []
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            if labels[i] == labels[j]:
                found += [(i, j, int(k)) for k in negatives[i, j, :n_used]]
    return found


def triplet_loss(z: np.ndarray, labels: np.ndarray, negatives: np.ndarray, gamma: float, margin: float) -> float:
    """Return the mean over triplets of max(0, gamma ||a - p||^2 - ||a - n||^2 + margin)."""
    found = triplets(labels, negatives)
    total = 0.0
    for i, j, k in found:
        near = sum((a - b) ** 2 for a, b in zip(z[i], z[j], strict=True))
        far = sum((a - b) ** 2 for a, b in zip(z[i], z[k], strict=True))
        total += max(0.0, gamma * near - far + margin)
    return total / len(found)


def join_isolated(X: np.ndarray, W: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return labels in which clusters of GDL affinity 0 to all others are joined to the nearest mean, nearest first."""
    clusters = [np.flatnonzero(labels == c).tolist() for c in range(labels.max() + 1)]
    means = [X[samples].mean(axis=0) for samples in clusters]
    joins = []
    for i, samples in enumerate(clusters):
        others = [j for j in range(len(clusters)) if j != i]
        if not any(gdl(W, samples, clusters[j]) for j in others):
            joins.append(min((math.dist(means[i], means[j]), i, j) for j in others))
    found = labels.copy()
    for _, i, j in sorted(joins)[: len(clusters) - n_clusters]:
        one, other = (found[clusters[c][0]] for c in (i, j))
        found[found == other] = one
    return found
