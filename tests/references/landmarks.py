"""Landmark-based spectral clustering by plain loops and dense matrices."""

import math

import numpy as np


def affinities(X: np.ndarray, landmarks: np.ndarray, r: int, kernel: str) -> np.ndarray:
    """Return Z (N, p): exp(-d^2 / (2 s^2)) or, released, exp(-d / (2 s^2)), s the mean d; r entries and sum 1 a row."""
    d = np.array([[math.dist(x, u) for u in landmarks] for x in X])
    s = d.mean()
    Z = np.zeros_like(d)
    for i, row in enumerate(d):
        for j in np.argsort(row)[:r]:
            Z[i, j] = math.exp(-(row[j] ** 2 if kernel == "squared" else row[j]) / (2 * s**2))
        Z[i] /= Z[i].sum()
    return Z


def graph(Z: np.ndarray) -> np.ndarray:
    """Return W = Z D^-1 Z' (N, N), D the column sums of Z."""
    W: np.ndarray = Z @ np.diag(1 / Z.sum(axis=0)) @ Z.T
    return W
