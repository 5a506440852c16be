"""DynAE's formulas (Mrabah et al. 2020, and its released code) and ACAI's (Berthelot et al. 2019), by plain loops."""

from collections.abc import Callable

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]


def is_unconflicted(q: np.ndarray, beta1: float, beta2: float) -> list[bool]:
    """Return for every row of q whether its largest entry and its lead over the second exceed the thresholds."""
    found = []
    for row in q:
        *_, second, first = sorted(float(value) for value in row)
        found.append(first > beta1 and first - second > beta2)
    return found


def thresholds(kappa: float, n_clusters: int, falls: int) -> tuple[float, float]:
    """Return beta1 and beta2 after so many falls, in the order of the released code's lines."""
    beta1 = kappa / n_clusters
    beta2 = beta1 / 2
    delta = 0.3 * kappa
    for _ in range(falls):
        beta1, beta2 = beta1 - delta / n_clusters, beta2 - delta / n_clusters
        delta = 0.3 * kappa
        kappa = delta
    return beta1, beta2


def acai(x: np.ndarray, f: Map, g: Map, critic: Map, a: np.ndarray, b: float, weight: float) -> dict[str, float]:
    """Return the terms of a batch: those of the autoencoder, and that of the critic."""
    n = len(x)
    error = adversarial = of_critic = 0.0
    for i in range(n):
        restored = g(f(x[i]))
        mixed = g(a[i] * f(x[i]) + (1 - a[i]) * f(x[n - 1 - i]))
        error += float(np.mean((x[i] - restored) ** 2)) / n
        adversarial += weight * float(np.mean(critic(mixed))) ** 2 / n
        of_critic += (float(np.mean(critic(mixed))) - a[i]) ** 2 / n
        of_critic += float(np.mean(critic(b * x[i] + (1 - b) * restored))) ** 2 / n
    return {"reconstruction": error, "adversarial": adversarial, "critic": of_critic}
