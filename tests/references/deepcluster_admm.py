"""DC-Kmeans and DC-GMM (Tian, Zhou and Guan 2017, Eq. (7)-(15)) by plain loops; Y, F = f(X) and U are (N, P)."""

import math

import numpy as np


def nearest(y: np.ndarray, centroids: np.ndarray) -> int:
    """Return the index of the centroid c* of Eq. (8) for one y."""
    return min(range(len(centroids)), key=lambda j: float(sum((y - centroids[j]) ** 2)))


def kmeans_cost(Y: np.ndarray, centroids: np.ndarray) -> float:
    """Return the mean over samples of (1/2) ||y_i - c*_i||^2, the clustering term of Eq. (8) over lambda."""
    return sum(float(sum((y - centroids[nearest(y, centroids)]) ** 2)) / 2 for y in Y) / len(Y)


def kmeans_y_step(
    Y: np.ndarray, F: np.ndarray, U: np.ndarray, centroids: np.ndarray, lam: float, rho: float
) -> np.ndarray:
    """Return the first line of Eq. (10)."""
    new = np.empty_like(Y)
    for i in range(len(Y)):
        new[i] = (lam * centroids[nearest(Y[i], centroids)] + rho * (F[i] - U[i])) / (lam + rho)
    return new


def centroids_of(Y: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the last line of Eq. (10); a centroid without samples is kept."""
    new = centroids.copy()
    for j in range(len(centroids)):
        members = [y for y in Y if nearest(y, centroids) == j]
        if members:
            new[j] = sum(members) / len(members)
    return new


def dual_step(Y: np.ndarray, F: np.ndarray, U: np.ndarray, share: float = 1) -> np.ndarray:
    """Return step 6 of Algorithm 1 (not the sign of Eq. (10)); the released code of DC-GMM takes half of it."""
    return np.array([U[i] + share * (Y[i] - F[i]) for i in range(len(Y))])


def penalty(Y: np.ndarray, F: np.ndarray, U: np.ndarray, rho: float) -> float:
    """Return the mean over samples of (rho / 2) ||y_i - f(x_i) + u_i||^2 (Eq. (9))."""
    return sum(rho / 2 * float(sum((Y[i] - F[i] + U[i]) ** 2)) for i in range(len(Y))) / len(Y)


def density(y: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Return N(y | mu, Sigma)."""
    difference = y - mean
    exponent = -float(difference @ np.linalg.inv(covariance) @ difference) / 2
    return math.exp(exponent) / math.sqrt((2 * math.pi) ** len(y) * np.linalg.det(covariance))


def responsibilities(Y: np.ndarray, means: np.ndarray, covariances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return gamma(z_ik) = p(z_ik = 1 | y_i), (N, K)."""
    joint = np.array([[w * density(y, m, s) for w, m, s in zip(weights, means, covariances, strict=True)] for y in Y])
    gamma: np.ndarray = joint / joint.sum(axis=1, keepdims=True)
    return gamma


def mixture_cost(Y: np.ndarray, means: np.ndarray, covariances: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean over samples of minus the logarithm in Eq. (11)."""
    total = 0.0
    for y in Y:
        total -= math.log(sum(w * density(y, m, s) for w, m, s in zip(weights, means, covariances, strict=True)))
    return total / len(Y)


def mixture_y_step(
    Y: np.ndarray,
    F: np.ndarray,
    U: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    weights: np.ndarray,
    lam: float,
    rho: float,
) -> np.ndarray:
    """Return Eq. (14)."""
    gamma = responsibilities(Y, means, covariances, weights)
    new = np.empty_like(Y)
    for i in range(len(Y)):
        matrix, right = rho * np.eye(Y.shape[1]), rho * (F[i] - U[i])
        for k in range(len(means)):
            precision = np.linalg.inv(covariances[k])
            matrix = matrix + lam * gamma[i, k] * precision
            right = right + lam * gamma[i, k] * precision @ means[k]
        new[i] = np.linalg.solve(matrix, right)
    return new


def em_step(
    Y: np.ndarray, means: np.ndarray, covariances: np.ndarray, weights: np.ndarray, regularization: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mu, Sigma and pi of Eq. (15), with the regularization on Sigma's diagonal."""
    gamma = responsibilities(Y, means, covariances, weights)
    n_samples, n_features = Y.shape
    new_means, new_covariances, new_weights = np.empty_like(means), np.empty_like(covariances), np.empty_like(weights)
    for k in range(len(means)):
        size = sum(gamma[i, k] for i in range(n_samples))
        new_means[k] = sum(gamma[i, k] * Y[i] for i in range(n_samples)) / size
        scatter = regularization * np.eye(n_features)
        for i in range(n_samples):
            scatter = scatter + gamma[i, k] / size * np.outer(Y[i] - new_means[k], Y[i] - new_means[k])
        new_covariances[k] = scatter
        new_weights[k] = size / n_samples
    return new_means, new_covariances, new_weights
