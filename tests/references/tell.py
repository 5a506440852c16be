"""TELL's formulas (Peng et al. 2022, and its released code), by plain loops."""

import math

import numpy as np


def clustering(Z: np.ndarray, W: np.ndarray, alpha: float, weight: float) -> float:
    """Return weight / alpha times the mean over samples and clusters of 2 alpha - delta_ik W_k'z_i."""
    total = 0.0
    for z in Z:
        scores = [sum(float(a) * float(b) for a, b in zip(z, row, strict=True)) for row in W]
        best = scores.index(max(scores))
        total += sum(2 * alpha - (score if k == best else 0.0) for k, score in enumerate(scores))
    return weight / alpha * total / (len(Z) * len(W))


def spherical(Z: np.ndarray, centers: np.ndarray, weight: float) -> float:
    """Return the same as 2 weight (1 - mean_i cos(z_i, mu_(s_i)) / K), of unit codes and unit centres."""
    largest = [max(sum(float(a) * float(b) for a, b in zip(z, mu, strict=True)) for mu in centers) for z in Z]
    return 2 * weight * (1 - sum(largest) / len(Z) / len(centers))


def step(Z: np.ndarray, W: np.ndarray, alpha: float, length: float) -> np.ndarray:
    """Return W, rows scaled to 2 alpha, after AdaDelta's first step at rate 1 on gradients of norm length alpha."""
    rho, eps = 0.9, 1e-6
    moved = []
    for k, row in enumerate(W):
        gradient = np.zeros(len(row))
        for z in Z:
            scores = [float(np.dot(z, other)) for other in W]
            if scores.index(max(scores)) == k:
                gradient -= z
        norm = math.sqrt(sum(value**2 for value in gradient))
        if norm > 0:
            gradient = gradient / norm * length * alpha
        rates = [math.sqrt(eps) / math.sqrt((1 - rho) * value**2 + eps) for value in gradient]
        new = np.array([w - rate * value for w, rate, value in zip(row, rates, gradient, strict=True)])
        moved.append(new / math.sqrt(sum(value**2 for value in new)) * 2 * alpha)
    return np.array(moved)
