"""DeepDPM's formulas (Ronen et al. 2022) by plain loops: densities one sample after the other, and Hastings' ratio."""

import math
from typing import Any

import numpy as np
from scipy.stats import multivariate_t

Prior = tuple[np.ndarray, float, float, np.ndarray]  # mean, kappa, nu, psi


def posterior(rows: np.ndarray, prior: Prior) -> Prior:
    """Return the prior after each row of (n, P) has been seen, one after the other."""
    mean, kappa, nu, psi = prior
    for x in rows:
        psi = psi + kappa / (kappa + 1) * np.outer(x - mean, x - mean)
        mean = (kappa * mean + x) / (kappa + 1)
        kappa, nu = kappa + 1, nu + 1
    return mean, kappa, nu, psi


def log_marginal(rows: np.ndarray, prior: Prior) -> float:
    """Return the sum of the logarithms of each row's predictive density, a multivariate t, given the rows before."""
    total = 0.0
    for i, x in enumerate(rows):
        mean, kappa, nu, psi = posterior(rows[:i], prior)
        df: Any = nu - len(mean) + 1
        total += float(multivariate_t(mean, psi * (kappa + 1) / (kappa * df), df=df).logpdf(x))
    return total


def log_split_ratio(one: np.ndarray, other: np.ndarray, prior: Prior, alpha: float) -> float:
    """Return ln of alpha Gamma(N1) f(X1) Gamma(N2) f(X2) / (Gamma(N) f(X))."""
    both = np.concatenate([one, other])
    counts = math.lgamma(len(one)) + math.lgamma(len(other)) - math.lgamma(len(both))
    parts = log_marginal(one, prior) + log_marginal(other, prior)
    return math.log(alpha) + counts + parts - log_marginal(both, prior)


def two_means(values: np.ndarray) -> np.ndarray:
    """Return which values are above the cut whose two groups have the least squared distances to their means."""
    order = sorted(values.tolist())
    costs = []
    for cut in range(1, len(order)):
        low, high = np.array(order[:cut]), np.array(order[cut:])
        cost = float(((low - low.mean()) ** 2).sum() + ((high - high.mean()) ** 2).sum())
        costs.append(cost if order[cut] > order[cut - 1] else math.inf)
    found: np.ndarray = values > order[int(np.argmin(costs))]
    return found
