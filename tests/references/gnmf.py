"""Graph regularised NMF by plain loops."""

import math

import numpy as np


def weights(X: np.ndarray, k: int) -> np.ndarray:
    """Return 0/1 weights W (N, N): 1 where one of two samples is among the other's k nearest."""
    W = np.zeros((len(X), len(X)))
    for i, x in enumerate(X):
        for _, j in sorted((math.dist(x, y), j) for j, y in enumerate(X) if j != i)[:k]:
            W[i, j] = W[j, i] = 1
    return W


def objective(X: np.ndarray, W: np.ndarray, lam: float, U: np.ndarray, V: np.ndarray) -> float:
    """Return the sum of squares of X' - U V' plus lam times the sum over pairs of w_ij ||v_i - v_j||^2."""
    total = float(np.square(X.T - U @ V.T).sum())
    for i in range(len(X)):
        for j in range(i):
            total += lam * W[i, j] * float(np.square(V[i] - V[j]).sum())
    return total


def gradients(X: np.ndarray, W: np.ndarray, lam: float, U: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return half the gradients with respect to U (D, K) and V (N, K)."""
    L = np.diag(W.sum(axis=1)) - W
    return U @ V.T @ V - X.T @ V, V @ U.T @ U - X @ U + lam * L @ V
