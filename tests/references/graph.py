"""Graph formulas of the papers, by plain loops."""

import math

import numpy as np


def neighbors(X: np.ndarray, k: int) -> list[list[tuple[float, int]]]:
    """Return each sample's k nearest others as (distance in float32, index), sorted as pairs: ties go to the index."""
    rows = np.asarray(X, dtype=np.float64).tolist()
    return [
        sorted((float(np.float32(math.dist(x, y))), j) for j, y in enumerate(rows) if j != i)[:k]
        for i, x in enumerate(rows)
    ]


def weights(X: np.ndarray, k: int, bandwidth: str, symmetrize: str) -> np.ndarray:
    """Return dense W from exp(-d^2 / sigma^2) or exp(-d^2 / (s_i s_j)), for data without duplicates."""
    graph = neighbors(X, k)
    sigma = float(np.median([d for row in graph for d, _ in row]))
    directed = np.zeros((len(X), len(X)))
    for i, row in enumerate(graph):
        for d, j in row:
            scale = sigma**2 if bandwidth == "median" else row[-1][0] * graph[j][-1][0]
            directed[i, j] = math.exp(-(d**2) / scale)
    return np.maximum(directed, directed.T) if symmetrize == "max" else (directed + directed.T) / 2


def smoothness(W: np.ndarray, H: np.ndarray, normalized: bool) -> float:
    """Return the sum over pairs i < j of w_ij ||h_i - h_j||^2, each h over the root of its degree if normalised."""
    degrees = W.sum(axis=1)
    total = 0.0
    for i in range(len(W)):
        for j in range(i):
            if W[i, j] > 0:
                a, b = (H[n] / math.sqrt(degrees[n]) if normalized else H[n] for n in (i, j))
                total += W[i, j] * float(np.sum((a - b) ** 2))
    return total
