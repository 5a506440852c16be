"""DECS's formulas (Cheng, Li, Wang and Qian 2024, Section 3), by plain loops; gradients at alpha = 1, as printed.

The paper's Z, m, A, B, C are those of one sample z: Z repeats it in K rows.
"""

import numpy as np


def soft_assignment(z: np.ndarray, m: np.ndarray, alpha: float) -> np.ndarray:
    """Return q of Eq. (5)."""
    q = np.empty((len(z), len(m)))
    for i in range(len(z)):
        kernel = [(1 + float((z[i] - center) @ (z[i] - center)) / alpha) ** (-(alpha + 1) / 2) for center in m]
        q[i] = np.array(kernel) / sum(kernel)
    return q


def otsu_threshold(q: np.ndarray, bins: int = 256) -> float:
    """Return the mean of the thresholds that tie for the largest between-class variance, trying every bin's centre."""
    values = q.ravel()
    edges = np.linspace(values.min(), values.max(), bins + 1)
    place = [max(0, sum(edge <= value for edge in edges[:-1]) - 1) for value in values]
    found = []
    for cut in range(bins - 1):
        lower = [p for p in place if p <= cut]
        upper = [p for p in place if p > cut]
        between = 0.0
        if lower and upper:
            between = len(lower) * len(upper) * (sum(lower) / len(lower) - sum(upper) / len(upper)) ** 2
        found.append(between)
    best = [(edges[cut] + edges[cut + 1]) / 2 for cut in range(bins - 1) if found[cut] >= max(found) * (1 - 1e-12)]
    return float(sum(best) / len(best))


def determinacy(q: np.ndarray, t: float) -> np.ndarray:
    """Return fq of Eq. (6)."""
    fq = np.empty_like(q)
    for i, j in np.ndindex(q.shape):
        Q = q[i, j] - t
        fq[i, j] = Q**2 / t**2 if Q < 0 else Q**2 / (1 - t) ** 2
    return fq


def stability(fq: np.ndarray, lam: float) -> np.ndarray:
    """Return sq of Eq. (7), the trace written out."""
    n_samples, k = fq.shape
    sq = np.empty(n_samples)
    ones = np.ones((1, k))
    for i in range(n_samples):
        row = fq[i : i + 1]
        centred = row - row @ ones.T @ ones / k
        sq[i] = (row @ ones.T).item() / k - lam / k * np.trace(centred.T @ centred)
    return sq


def loss(z: np.ndarray, m: np.ndarray, t: float, lam: float, alpha: float) -> float:
    """Return L_c of Eq. (8)."""
    sq = stability(determinacy(soft_assignment(z, m, alpha), t), lam)
    return float(1 - sum(sq) / len(sq))


def released_loss(q: np.ndarray, t: float, lam: float) -> float:
    """Return the loss of the paper's released code: absolute values, and the batch's variance of sq subtracted."""
    n_samples, k = q.shape
    sq = []
    for i in range(n_samples):
        f = [abs((q[i, j] - t) / t) if q[i, j] < t else abs((q[i, j] - t) / (1 - t)) for j in range(k)]
        mean = sum(f) / k
        sq.append(mean - lam * sum((value - mean) ** 2 for value in f) / k)
    mean = sum(sq) / n_samples
    return float(1 - (mean + sum((value - mean) ** 2 for value in sq) / n_samples))


def stability_by_determinacy(fq_i: np.ndarray, lam: float) -> np.ndarray:
    """Return d sq_i / d fq_i (K,), Eq. (10)."""
    k = len(fq_i)
    return np.array([1 / k - 2 * lam / k * (f - sum(fq_i) / k) for f in fq_i])


def determinacy_by_assignment(q_i: np.ndarray, t: float) -> np.ndarray:
    """Return the K derivatives d fq(q_ij) / d q_ij, Eq. (11) and (12)."""
    return np.array([2 * (q - t) / t**2 if q < t else 2 * (q - t) / (1 - t) ** 2 for q in q_i])


def assignment_by_code(z_i: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return d q_ij / d z_i, (K, P), Eq. (13) and (14)."""
    return _quotient(_inverse_kernel(z_i, m), -2 * (z_i - m))


def assignment_by_common_shift(z_i: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return Eq. (15) as printed, (K, P): its second term sums over all centroids, so it is the derivative of q_ij by
    a shift common to all of them, minus Eq. (14).
    """
    return _quotient(_inverse_kernel(z_i, m), -2 * (m - z_i))


def assignment_by_centroids(z_i: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return d q_ij / d m_l, (K, K, P): Eq. (15) for one centroid at a time, which Eq. (17) needs."""
    A, C = _inverse_kernel(z_i, m), -2 * (m - z_i)
    total = sum(1 / A)
    by = np.zeros((len(m), *m.shape))
    for j in range(len(m)):
        for other in range(len(m)):
            by[j, other] = -1 / A[j] * C[other] / A[other] ** 2 / total**2
        by[j, j] += C[j] / A[j] ** 2 / total
    return by


def gradient(z: np.ndarray, m: np.ndarray, t: float, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of L_c by the codes (N, P) and the centroids (K, P): Eq. (9) to (17)."""
    by_z, by_m = np.zeros_like(z), np.zeros_like(m)
    q = soft_assignment(z, m, 1.0)
    fq = determinacy(q, t)
    for i in range(len(z)):
        by_q = -1 / len(z) * stability_by_determinacy(fq[i], lam) * determinacy_by_assignment(q[i], t)
        by_z[i] = by_q @ assignment_by_code(z[i], m)
        by_m += np.einsum("j,jlp->lp", by_q, assignment_by_centroids(z[i], m))
    return by_z, by_m


def _inverse_kernel(z_i: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return the diagonal of A of Eq. (13)."""
    return np.array([1 + z_i @ z_i - 2 * z_i @ center + center @ center for center in m])


def _quotient(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return the quotient rule of Eq. (14) and (15)."""
    total = sum(1 / A)
    together = sum(B[j] / A[j] ** 2 for j in range(len(A)))
    return np.array([(B[j] / A[j] ** 2 * total - 1 / A[j] * together) / total**2 for j in range(len(A))])
