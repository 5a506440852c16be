"""Internal metrics: how compact, separate and repeatable clusters are, without classes and so without the truth.

Compactness is judged in the space of the samples, not in a method's own embedding, so that methods can be compared.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from deepclust.errors import UserError, refuse_masked
from deepclust.metrics.external import ari, integers, several

SAMPLE = 5000
_FAR = 1e3  # times what the samples differ by
_COINCIDE = 1e-8  # distance of two centroids, times the largest value


def internal(X: np.ndarray, W: sp.csr_matrix, labels: ArrayLike) -> dict[str, float]:
    """Return silhouette, davies_bouldin and modularity by name; the first two only where they are defined.

    silhouette, in [-1, 1], larger is better: the mean over samples of (b - a) / max(a, b), a the mean distance to the
    other members of the own cluster and b that to the members of the nearest other one. The mean is over at most 5,000
    samples, the same ones for all labels. davies_bouldin, at least 0, smaller is better: the mean over clusters of the
    largest (s_i + s_j) / d_ij, s the mean distance of the members to their centroid and d that between centroids.
    Distances are Euclidean, not squared. modularity, in [-1/2, 1), larger is better: see `deepclust.graph.partition`.

    Parameters
    ----------
    X : array of shape (N, D)
    W : csr_matrix of shape (N, N), the weights of the nearest-neighbour graph
    labels : array of shape (N,), integers
        The first two metrics are undefined for one cluster, for as many clusters as samples, and without features;
        davies_bouldin also where two centroids coincide, as of concentric rings.

    Raises
    ------
    UserError
        If X is not real and finite, W is not a graph's weight matrix, or the labels are not an integer for each sample.

    Notes
    -----
    Rousseeuw, "Silhouettes", 1987; Davies and Bouldin, "A cluster separation measure", 1979. The metrics are computed
    on one thread, because sums on several threads differ in their last bits.
    """
    from scipy.spatial.distance import pdist
    from sklearn.metrics import davies_bouldin_score, silhouette_score
    from threadpoolctl import threadpool_limits

    from deepclust.graph.partition import modularity

    labels = np.unique(integers("labels", labels), return_inverse=True)[1]
    refuse_masked("X", X)
    X = np.asarray(X)
    if X.ndim != 2 or len(X) != len(labels) or X.dtype.kind not in "fiub" or not np.isfinite(X).all():
        raise UserError(
            f"X must be a finite real array of shape (N, D), N = {len(labels)} as labels has, got {X.dtype} of shape "
            f"{X.shape}, or NaN or infinity"
        )
    X = _about_origin(X)
    found: dict[str, float] = {}
    rows = np.arange(len(X))
    if len(X) > SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(len(X), SAMPLE, replace=False))
    scaled = np.ldexp(X, -np.frexp(np.abs(X).max(initial=0))[1])  # exact, of size 1: scikit-learn's zero is 1e-8
    with threadpool_limits(1):
        if X.shape[1] and 1 < len(np.unique(labels[rows])) < len(rows):
            found["silhouette"] = float(silhouette_score(scaled[rows], labels[rows]))
        if X.shape[1] and 1 < len(np.unique(labels)) < len(X):
            centroids = np.stack([scaled[labels == k].mean(axis=0, dtype=np.float64) for k in np.unique(labels)])
            if pdist(centroids).min() > _COINCIDE:  # scikit-learn leaves such a pair out, or calls it perfect
                found["davies_bouldin"] = float(davies_bouldin_score(scaled, labels))
    return found | {"modularity": modularity(W, labels)}


def _about_origin(X: np.ndarray) -> np.ndarray:
    """Return X in float32 or float64 and, where it lies far from 0, shifted: distances stay, and get more digits.

    Integers are shifted before they are floats, which do not hold all beyond 2^53.
    """
    if X.dtype.kind in "iu":
        wide = X.astype(np.int64 if X.dtype.kind == "i" else np.uint64)
        shifted = wide.view(np.uint64) - wide.min(axis=0).view(np.uint64)  # modulo 2^64: exact
        return np.asarray(shifted, dtype=np.float64)
    X = X.astype(np.result_type(X, np.float32), copy=False)
    middle = X.mean(axis=0, dtype=np.float64)
    if X.size and np.abs(middle).max() > _FAR * max((X.max(axis=0) - middle).max(), (middle - X.min(axis=0)).max()):
        return np.asarray(X - middle)
    return X


def stability(labelings: Sequence[ArrayLike]) -> list[float]:
    """Return each labeling's mean adjusted Rand index with the others, in [-0.5, 1]; nothing for a single labeling.

    The mean of the returned values is the mean over all pairs.

    Parameters
    ----------
    labelings : sequence of arrays (N,), integers

    Raises
    ------
    UserError
        For a data frame, of which it is not clear whether rows or columns are labelings.
    """
    labelings = several(labelings)
    n = len(labelings)
    if n < 2:
        return []
    agreement = np.zeros((n, n))
    for i, j in itertools.combinations(range(n), 2):
        agreement[i, j] = agreement[j, i] = ari(labelings[i], labelings[j])
    return [float(value) for value in agreement.sum(axis=1) / (n - 1)]
