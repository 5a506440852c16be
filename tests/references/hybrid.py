"""The hybrid's objective (Eq. (4)), by plain loops; terms are divided by N, squared norms are sums over features."""

import numpy as np


def objective(
    X: np.ndarray,
    reconstruction: np.ndarray,
    H: np.ndarray,
    Z: np.ndarray,
    W: np.ndarray,
    alpha: float,
    beta: float,
    gamma: float,
) -> dict[str, float]:
    """Return the four weighted terms; `alpha` is absolute and the Laplacian normalised."""
    n = len(X)
    degrees = [sum(W[i]) for i in range(n)]
    terms = dict.fromkeys(["self_expression", "sparsity", "smoothness", "reconstruction"], 0.0)
    for i in range(n):
        rebuilt = sum(Z[i, j] * H[j] for j in range(n))
        terms["self_expression"] += sum((H[i] - rebuilt) ** 2)
        terms["sparsity"] += alpha * sum(abs(z) for z in Z[i])
        terms["reconstruction"] += gamma * sum((X[i] - reconstruction[i]) ** 2)
        for j in range(n):
            if W[i, j]:
                apart = H[i] / degrees[i] ** 0.5 - H[j] / degrees[j] ** 0.5
                terms["smoothness"] += beta * W[i, j] * sum(apart**2) / 2
    return {name: float(total) / n for name, total in terms.items()}
