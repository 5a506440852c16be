"""The losses of IIC (Ji et al. 2019) and CC (Li et al. 2021) by plain loops; p, other are (B, K)."""

import math

import numpy as np


def information_loss(p: np.ndarray, other: np.ndarray, lam: float) -> float:
    """Return -sum_kl P_kl (ln P_kl - lam ln P_k - lam ln P_l) of the symmetric joint distribution."""
    n, n_clusters = p.shape
    joint = np.zeros((n_clusters, n_clusters))
    for i in range(n):
        for k in range(n_clusters):
            for m in range(n_clusters):
                joint[k, m] += p[i, k] * other[i, m] / (2 * n)
                joint[m, k] += p[i, k] * other[i, m] / (2 * n)
    total = 0.0
    for k in range(n_clusters):
        for m in range(n_clusters):
            marginals = math.log(sum(joint[k])) + math.log(sum(joint[m]))
            total -= joint[k, m] * (math.log(joint[k, m]) - lam * marginals)
    return total


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def nt_xent(one: np.ndarray, other: np.ndarray, temperature: float) -> float:
    """Return the mean over all rows of -ln of the share that a row's other view has of its likeness to all others."""
    rows, n = [*one, *other], len(one)
    total = 0.0
    for i, row in enumerate(rows):
        likeness = [math.exp(cosine(row, s) / temperature) if s is not row else 0.0 for s in rows]
        total -= math.log(likeness[(i + n) % (2 * n)] / sum(likeness))
    return total / (2 * n)


def entropy(shares: np.ndarray) -> float:
    return -sum(float(s) * math.log(s) for s in shares)
