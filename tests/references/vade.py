"""VaDE's loss (Jiang et al. 2017) by plain loops: z, m, ln s^2 (P,); pi (K,); mu, sigma^2 (K, P)."""

import math

import numpy as np


def responsibilities(z: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return gamma_c = pi_c N(z | mu_c, diag sigma_c^2) / sum over c'."""
    joint = []
    for weight, mean, variance in zip(weights, means, variances, strict=True):
        density = weight
        for j in range(len(z)):
            density *= math.exp(-((z[j] - mean[j]) ** 2) / (2 * variance[j])) / math.sqrt(2 * math.pi * variance[j])
        joint.append(density)
    gamma: np.ndarray = np.array(joint) / sum(joint)
    return gamma


def code_terms(
    z: np.ndarray,
    m: np.ndarray,
    log_variance: np.ndarray,
    weights: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
) -> float:
    """Return the loss of one sample but for the reconstruction, as printed: term by term, minus the lower bound's."""
    gamma, s2 = responsibilities(z, weights, means, variances), np.exp(log_variance)
    total = 0.0
    for c in range(len(weights)):
        for j in range(len(z)):
            parts = math.log(variances[c, j]) + (s2[j] + (m[j] - means[c, j]) ** 2) / variances[c, j]
            total += gamma[c] / 2 * parts
        total += gamma[c] * (math.log(gamma[c]) - math.log(weights[c]))
    for j in range(len(z)):
        total -= (1 + log_variance[j]) / 2
    return total


def cross_entropy(x: np.ndarray, output: np.ndarray) -> float:
    """Return minus the logarithm of the Bernoulli likelihood of one sample, summed over its features."""
    return -math.fsum(a * math.log(b) + (1 - a) * math.log(1 - b) for a, b in zip(x, output, strict=True))
