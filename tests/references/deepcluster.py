"""DeepCluster's steps between epochs (Caron et al. 2018, and its released code), by plain loops."""

import math

import numpy as np


def features(codes: np.ndarray, n_components: int) -> np.ndarray:
    """Return principal components of variance 1, rows of norm 1; a hundred-thousandth of the largest variance added."""
    _, singular, axes = np.linalg.svd(codes - codes.mean(axis=0), full_matrices=False)
    variances = singular**2 / len(codes)
    rows = []
    for code in codes - codes.mean(axis=0):
        row = [
            float(code @ axis) / math.sqrt(variance + 1e-5 * variances[0])
            for axis, variance in zip(axes[:n_components], variances, strict=False)
        ]
        norm = math.sqrt(sum(value**2 for value in row))
        rows.append([value / norm for value in row])
    return np.array(rows)


def cross_entropy(logits: np.ndarray, labels: list[int]) -> float:
    """Return the mean over samples of -ln softmax(logits_i)_(label_i)."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        total -= math.log(math.exp(row[label]) / sum(math.exp(value) for value in row))
    return total / len(labels)
