"""CD-1 of a restricted Boltzmann machine (Hinton and Salakhutdinov 2006) by plain loops; v (B, V), W (H, V)."""

import math

import numpy as np


def logistic(x: float) -> float:
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + math.exp(-x))


def upward(v: np.ndarray, W: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
    """Return the means (H,) of hidden units given one v (V,)."""
    inputs = [b[j] + sum(W[j, i] * v[i] for i in range(len(v))) for j in range(len(b))]
    return np.array([logistic(x) if kind == "binary" else x for x in inputs])


def downward(h: np.ndarray, W: np.ndarray, a: np.ndarray, kind: str) -> np.ndarray:
    """Return the means (V,) of visible units given one h (H,)."""
    inputs = [a[i] + sum(W[j, i] * h[j] for j in range(len(h))) for i in range(len(a))]
    return np.array([logistic(x) if kind == "binary" else x for x in inputs])


def statistics(
    v: np.ndarray, noise: np.ndarray, W: np.ndarray, a: np.ndarray, b: np.ndarray, visible: str, hidden: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return <h v'>, <v> and <h> at the data less those at the reconstructions: the ascent of W, a and b.

    `noise` (B, H) is uniform for binary hidden units, which are on where it is below their mean, and standard normal
    for Gaussian ones.
    """
    dW, da, db = np.zeros_like(W), np.zeros_like(a), np.zeros_like(b)
    for row, draw in zip(v, noise, strict=True):
        mean = upward(row, W, b, hidden)
        h = (draw < mean).astype(float) if hidden == "binary" else mean + draw
        again = downward(h, W, a, visible)
        mean_again = upward(again, W, b, hidden)
        for j in range(len(b)):
            for i in range(len(a)):
                dW[j, i] += (mean[j] * row[i] - mean_again[j] * again[i]) / len(v)
        da += (row - again) / len(v)
        db += (mean - mean_again) / len(v)
    return dW, da, db


def free_energy(v: np.ndarray, W: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Return -ln sum_h exp(a'v + b'h + h'Wv) over all binary h, for one v of binary units."""
    total = 0.0
    for number in range(2 ** len(b)):
        h = np.array([number >> j & 1 for j in range(len(b))])
        total += math.exp(a @ v + b @ h + h @ W @ v)
    return -math.log(total)
