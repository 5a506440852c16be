"""DEPICT's formulas (Ghasedi Dizaji et al. 2017) by plain loops; p, q are (N, K)."""

import math

import numpy as np


def balanced_target(p: np.ndarray) -> np.ndarray:
    """Return the paper's q: p_ik over the square root of the cluster's size, rows divided by their sums."""
    n_samples, n_clusters = p.shape
    q = np.empty_like(p)
    for i in range(n_samples):
        for k in range(n_clusters):
            q[i, k] = p[i, k] / math.sqrt(sum(p[j, k] for j in range(n_samples)))
        q[i] /= sum(q[i])
    return q


def cross_entropy(q: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean over rows of -sum_k q_ik ln p_ik, p the softmax of the logits."""
    total = 0.0
    for target, row in zip(q, logits, strict=True):
        normaliser = math.log(math.fsum(math.exp(value) for value in row))
        total -= math.fsum(a * (b - normaliser) for a, b in zip(target, row, strict=True))
    return total / len(q)


def mean_squared_error(a: np.ndarray, b: np.ndarray) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True)) / a.size
