"""ASPC-DA's formulas (Guo et al. 2019, and its released code), by plain loops."""

import math

import numpy as np


def assigned(Z: np.ndarray, centers: np.ndarray) -> tuple[list[int], list[float]]:
    """Return each code's nearest centre, and the squared distance to it."""
    labels, distances = [], []
    for z in Z:
        squared = [sum((float(a) - float(b)) ** 2 for a, b in zip(z, center, strict=True)) for center in centers]
        labels.append(squared.index(min(squared)))
        distances.append(min(squared))
    return labels, distances


def weights(distances: list[float], t: int, T: int) -> list[float]:
    """Return v: 1 for distances below their mean plus t/T standard deviations."""
    mean = sum(distances) / len(distances)
    std = math.sqrt(sum((d - mean) ** 2 for d in distances) / len(distances))
    return [1.0 if d < mean + t / T * std else 0.0 for d in distances]


def loss(Z: np.ndarray, centers: np.ndarray, labels: list[int], v: list[float]) -> float:
    """Return the mean over samples of v_i times the mean over features of (z_i - mu_(s_i))^2."""
    total = 0.0
    for z, label, weight in zip(Z, labels, v, strict=True):
        total += weight * sum((float(a) - float(b)) ** 2 for a, b in zip(z, centers[label], strict=True)) / len(z)
    return total / len(Z)
