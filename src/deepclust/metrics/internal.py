"""Internal metrics: how compact, separate and repeatable clusters are, without classes and so without the truth.

Compactness is judged in the space of the samples, not in a method's own embedding, so that methods can be compared.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

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
    return internal_of(X, W)(labels)


def internal_of(X: np.ndarray, W: sp.csr_matrix) -> Callable[[ArrayLike], dict[str, float]]:
    """Return `internal` of these samples and this graph as a function of labels; X is checked and read for all once."""
    from scipy.spatial.distance import pdist
    from sklearn.metrics import davies_bouldin_score, silhouette_score
    from sklearn.metrics.pairwise import euclidean_distances
    from threadpoolctl import threadpool_limits

    from deepclust.graph.partition import modularity

    refuse_masked("X", X)
    X = np.asarray(X)
    N = len(X) if X.ndim == 2 and X.dtype.kind in "fiub" and np.isfinite(X).all() else -1  # no number of labels
    rows, scaled = np.arange(N), X
    if N > 0:
        X = _about_origin(X)
        scaled = np.ldexp(X, -np.frexp(np.abs(X).max(initial=0))[1])  # exact, of size 1: scikit-learn's zero is 1e-8
    if N > SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(N, SAMPLE, replace=False))

    @functools.cache
    def distances() -> np.ndarray:
        found: np.ndarray = euclidean_distances(scaled[rows])
        return found

    def of(labels: ArrayLike) -> dict[str, float]:
        labels = np.unique(integers("labels", labels), return_inverse=True)[1]
        if len(labels) != N:
            raise UserError(
                f"X must be a finite real array of shape (N, D), N = {len(labels)} as labels has, got {X.dtype} of "
                f"shape {X.shape}, or NaN or infinity"
            )
        found: dict[str, float] = {}
        with threadpool_limits(1):
            if X.shape[1] and 1 < len(np.unique(labels[rows])) < len(rows):
                found["silhouette"] = float(silhouette_score(distances(), labels[rows], metric="precomputed"))
            if X.shape[1] and 1 < len(np.unique(labels)) < N:
                centroids = np.stack([scaled[labels == k].mean(axis=0, dtype=np.float64) for k in np.unique(labels)])
                if pdist(centroids).min() > _COINCIDE:  # scikit-learn leaves such a pair out, or calls it perfect
                    found["davies_bouldin"] = float(davies_bouldin_score(scaled, labels))
        return found | {"modularity": modularity(W, labels)}

    return of


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
