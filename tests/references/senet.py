"""SENet's formulas (Zhang et al. 2021, and its released code), by plain loops."""

import math

import numpy as np
from sklearn.linear_model import ElasticNet


def coefficients(q: np.ndarray, k: np.ndarray, b: float) -> np.ndarray:
    """Return c (B, M) of queries (B, P) and keys (M, P): products, shrunk by b, over P."""
    c = np.empty((len(q), len(k)))
    for j, query in enumerate(q):
        for i, key in enumerate(k):
            t = math.fsum(float(a) * float(z) for a, z in zip(query, key, strict=True))
            c[j, i] = math.copysign(max(abs(t) - b, 0.0), t) / len(query)
    return c


def objective(c: np.ndarray, X: np.ndarray, gamma: float, sparsity: float) -> float:
    """Return the mean over all samples of (gamma / 2) ||x_j - sum_{i != j} c_ji x_i||^2 and their elastic net."""
    total = 0.0
    for j, x in enumerate(X):
        rest = x.astype(np.float64)
        for i, atom in enumerate(X):
            if i != j:
                rest = rest - c[j, i] * atom
                total += sparsity * abs(c[j, i]) + (1 - sparsity) / 2 * c[j, i] ** 2
        total += gamma / 2 * float(rest @ rest)
    return total / len(X)


def elastic_net(X: np.ndarray, gamma: float, sparsity: float) -> np.ndarray:
    """Return the minimiser C (N, N) of `objective`, its diagonal 0, by scikit-learn's elastic net, row after row."""
    C = np.zeros((len(X), len(X)))
    for j in range(len(X)):
        others = np.arange(len(X)) != j
        model = ElasticNet(1 / (gamma * X.shape[1]), l1_ratio=sparsity, fit_intercept=False, tol=1e-9, max_iter=100_000)
        C[j, others] = model.fit(X[others].T, X[j]).coef_
    return C
